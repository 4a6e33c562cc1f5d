"""What is to be encoded: Parquet."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.work import WorkMaterializer
from sanaflow.cache.parts import LatentWork


class LatentWorkMaterializer(WorkMaterializer):
    """Stores rows."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (LatentWork,)
    NOUN: ClassVar[str] = "latents"
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: LatentWork) -> None:
        """Write two tables."""
        self.write_frame("crops.parquet", data.crops)
        self.write_frame("missing.parquet", data.missing)

    def load(self, data_type: type[Any]) -> LatentWork:
        """Read them back."""
        return LatentWork(self.read_frame("crops.parquet"), self.read_frame("missing.parquet"))

    def compute_content_hash(self, data: LatentWork) -> str:
        """The same rows are the same work."""
        return data.digest()

    def extract_metadata(self, data: LatentWork) -> dict[str, MetadataType]:
        """Counts."""
        return self.counts(data.crops["key"].nunique(), data.missing)

    def save_visualizations(self, data: LatentWork) -> dict[str, VisualizationType]:
        """Counts, and what each worker has to do."""
        return self.draw_counts(data.crops["key"].nunique(), data.missing)
