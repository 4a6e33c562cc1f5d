"""What models come from, as a page: HTML, shown as it is."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from materializers.files import FileMaterializer
from sanaflow.lineage.page import LineagePage


class LineagePageMaterializer(FileMaterializer):
    """Stores one HTML file that needs no network."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (LineagePage,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: LineagePage) -> None:
        """Write lineage.html."""
        self.write_bytes("lineage.html", data.html.encode())

    def load(self, data_type: type[Any]) -> LineagePage:
        """Read it back."""
        return LineagePage(self.read_bytes("lineage.html").decode())

    def save_visualizations(self, data: LineagePage) -> dict[str, VisualizationType]:
        """The page itself."""
        return {self.path("lineage.html"): VisualizationType.HTML}
