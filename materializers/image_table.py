"""The table of pictures: Parquet, drawn as contact sheets and the list of what was left out."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.images.audit import MEASURES, conspicuous, duplicates_sheet, worst_sheet
from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import read_thumbnail
from sanaflow.images.table import ImageTable

SHOWN = 64


class ImageTableMaterializer(FileMaterializer):
    """Stores rows, never pictures."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (ImageTable,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: ImageTable) -> None:
        """Write two Parquet files."""
        self.write_frame("pictures.parquet", data.pictures)
        self.write_frame("rejected.parquet", data.rejected)

    def load(self, data_type: type[Any]) -> ImageTable:
        """Read them back."""
        return ImageTable(self.read_frame("pictures.parquet"), self.read_frame("rejected.parquet"))

    def compute_content_hash(self, data: ImageTable) -> str:
        """The same pictures, captions and settings are the same table, wherever the files lie."""
        return data.digest()

    def extract_metadata(self, data: ImageTable) -> dict[str, MetadataType]:
        """Counts."""
        counts = {"pictures": len(data.pictures), "rejected_files": len(data.rejected)}
        standing_out = {f"stand_out_by_{n}": int(conspicuous(data.pictures, n).sum()) for n in MEASURES}
        return {**counts, **standing_out, "digest": data.digest()}

    def save_visualizations(self, data: ImageTable) -> dict[str, VisualizationType]:
        """Pictures evenly picked, the worst by each measure, near-duplicates, and the files left out."""
        shown = data.pictures.iloc[:: max(1, len(data.pictures) // SHOWN)].head(SHOWN)
        sheet = contact_sheet([read_thumbnail(uri) for uri in shown["uri"]], [c[0] for c in shown["captions"]])
        drawn = self.draw_picture("contact_sheet.png", sheet)
        if worst := worst_sheet(data.pictures):
            drawn |= self.draw_picture("quality_worst.png", worst)
        if duplicates := duplicates_sheet(data.pictures):
            drawn |= self.draw_picture("near_duplicates.png", duplicates)
        if len(data.rejected):
            lines = "\n".join(f"- **{r.dataset}/{r.file}**: {r.reason}" for r in data.rejected.head(1000).itertuples())
            drawn |= self.draw_text("left_out.md", f"# {len(data.rejected):,} files left out\n\n{lines}\n")
        return drawn
