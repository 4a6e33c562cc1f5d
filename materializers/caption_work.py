"""What is to be encoded: Parquet and JSON."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.work import WorkMaterializer
from sanaflow.cache.parts import CaptionWork


class CaptionWorkMaterializer(WorkMaterializer):
    """Stores rows."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (CaptionWork,)
    NOUN: ClassVar[str] = "texts"
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: CaptionWork) -> None:
        """Write two tables and the keys."""
        self.write_frame("captions.parquet", data.captions)
        self.write_frame("missing.parquet", data.missing)
        self.write_json("work.json", {"fingerprint": data.fingerprint, "keys": data.keys})

    def load(self, data_type: type[Any]) -> CaptionWork:
        """Read them back."""
        work = self.read_json("work.json")
        captions, missing = self.read_frame("captions.parquet"), self.read_frame("missing.parquet")
        return CaptionWork(work["fingerprint"], captions, work["keys"], missing)

    def compute_content_hash(self, data: CaptionWork) -> str:
        """The same rows are the same work."""
        return data.digest()

    def extract_metadata(self, data: CaptionWork) -> dict[str, MetadataType]:
        """Counts."""
        return self.counts(len(data.keys), data.missing)

    def save_visualizations(self, data: CaptionWork) -> dict[str, VisualizationType]:
        """Counts, and what each worker has to do."""
        return self.draw_counts(len(data.keys), data.missing)
