"""Drawn pictures: PNG and Parquet, shown as one sheet with a row for each who drew them."""

import io
from typing import Any, ClassVar

from PIL import Image
from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.evaluation.gallery import Gallery, gallery_sheet, timeline


class GalleryMaterializer(FileMaterializer):
    """Stores every picture."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Gallery,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: Gallery) -> None:
        """Write rows.parquet and a PNG a picture."""
        self.write_frame("rows.parquet", data.rows)
        for number, picture in enumerate(data.pictures):
            self.draw_picture(f"{number:05d}.png", picture)

    def load(self, data_type: type[Any]) -> Gallery:
        """Read them back."""
        rows = self.read_frame("rows.parquet")
        return Gallery(
            rows, [Image.open(io.BytesIO(self.read_bytes(f"{number:05d}.png"))) for number in range(len(rows))]
        )

    def extract_metadata(self, data: Gallery) -> dict[str, MetadataType]:
        """Counts."""
        return {"pictures": len(data.pictures), "drawn_by": list(data.rows["label"].unique())}

    def save_visualizations(self, data: Gallery) -> dict[str, VisualizationType]:
        """The sheet."""
        if not data.pictures:
            return self.draw_text(
                "none.md", "No pictures: `validation` has no `validation_prompt` and no `user_prompt_library`.\n"
            )
        over_time = data.rows["label"].str.startswith("step ").all()
        return self.draw_picture("sheet.png", timeline(data) if over_time else gallery_sheet(data))
