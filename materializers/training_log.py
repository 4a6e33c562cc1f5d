"""The training log: Parquet, drawn as curves."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.training.log import FRAMES, TrainingLog


class TrainingLogMaterializer(FileMaterializer):
    """Stores one row a step, one a measurement on held-out pictures, and one an update that was left out."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (TrainingLog,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: TrainingLog) -> None:
        """Write a table each, and the flow schedule."""
        for name in FRAMES:
            self.write_frame(f"{name}.parquet", getattr(data, name))
        self.write_json("flow.json", data.flow)

    def load(self, data_type: type[Any]) -> TrainingLog:
        """Read it back."""
        frames = {name: self.read_frame(f"{name}.parquet") for name in FRAMES}
        return TrainingLog(**frames, flow=self.read_json("flow.json"))

    def extract_metadata(self, data: TrainingLog) -> dict[str, MetadataType]:
        """The last numbers."""
        last = data.steps.tail(max(1, len(data.steps) // 10))
        found: dict[str, MetadataType] = {
            "steps": len(data.steps),
            "loss_of_last_tenth": float(last["loss"].mean()),
            "median_seconds_per_step": float(data.steps["seconds_per_step"].median()),
            "peak_memory_bytes": int(data.steps["peak_memory_bytes"].max()),
            "skipped_updates": len(data.skipped),
        }
        for weights, rows in data.evaluations.groupby("weights"):
            at_end = rows[rows["step"] == rows["step"].max()]
            found[f"evaluation_loss_{weights}"] = float(at_end["loss"].mean())
        return found

    def save_visualizations(self, data: TrainingLog) -> dict[str, VisualizationType]:
        """The curves, the noise levels trained at and, if there are any, losses on held-out pictures."""
        # Here, for it imports PyTorch, which a run that is served from the cache has no use for.
        from sanaflow.training.curves import draw_curves, draw_evaluations, draw_sigma_density

        drawn = self.draw_figure("training.png", draw_curves(data.steps))
        drawn |= self.draw_figure("noise_levels.png", draw_sigma_density(data.flow))
        if len(data.evaluations):
            drawn |= self.draw_figure("evaluation.png", draw_evaluations(data.evaluations))
        if len(data.skipped):
            lines = [
                f"- step {row.step}: loss {row.loss}, gradient norm {row.grad_norm}"
                for row in data.skipped.itertuples()
            ]
            drawn |= self.draw_text("skipped.md", "# Updates left out\n\n" + "\n".join(lines) + "\n")
        return drawn
