"""CLIP scores: Parquet, shown as an HTML report."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.digests import digest_of, table_digest
from sanaflow.evaluation.scores import ClipScores, summarise


class ClipScoresMaterializer(FileMaterializer):
    """Stores one row a prompt, size and seed."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (ClipScores,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: ClipScores) -> None:
        """Write scores.parquet, checks.parquet and report.html."""
        self.write_frame("scores.parquet", data.scores)
        self.write_frame("checks.parquet", data.checks)
        self.write_json("scores.json", {"model": data.model})
        self.write_bytes("report.html", data.report.encode())

    def load(self, data_type: type[Any]) -> ClipScores:
        """Read it back."""
        return ClipScores(
            scores=self.read_frame("scores.parquet"),
            checks=self.read_frame("checks.parquet"),
            model=self.read_json("scores.json")["model"],
            report=self.read_bytes("report.html").decode(),
        )

    def compute_content_hash(self, data: ClipScores) -> str:
        """The same numbers are the same scores."""
        return digest_of([data.model, table_digest(data.scores), table_digest(data.checks)])

    def extract_metadata(self, data: ClipScores) -> dict[str, MetadataType]:
        """The means."""
        means = {f"mean_{name}": float(value) for name, value in summarise(data.scores)["mean"].items()}
        return {"clip_model": data.model, "pictures": len(data.scores), **means}

    def save_visualizations(self, data: ClipScores) -> dict[str, VisualizationType]:
        """The report: summary first, then every prompt, the largest gain on top."""
        return self.draw_text("report.html", data.report)
