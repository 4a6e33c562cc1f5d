"""The training log: Parquet, drawn as curves."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.training.log import SIGMA_BINS, TrainingLog


class TrainingLogMaterializer(FileMaterializer):
    """Stores one row a step."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (TrainingLog,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: TrainingLog) -> None:
        """Write steps.parquet."""
        self.write_frame("steps.parquet", data.steps)

    def load(self, data_type: type[Any]) -> TrainingLog:
        """Read it back."""
        return TrainingLog(self.read_frame("steps.parquet"))

    def extract_metadata(self, data: TrainingLog) -> dict[str, MetadataType]:
        """The last numbers."""
        last = data.steps.tail(max(1, len(data.steps) // 10))
        return {
            "steps": len(data.steps),
            "loss_of_last_tenth": float(last["loss"].mean()),
            "median_seconds_per_step": float(data.steps["seconds_per_step"].median()),
            "peak_memory_bytes": int(data.steps["peak_memory_bytes"].max()),
        }

    def save_visualizations(self, data: TrainingLog) -> dict[str, VisualizationType]:
        """Loss, loss by noise level, gradient norm and learning rate over the steps."""
        from matplotlib.figure import Figure

        steps = data.steps.set_index("step")
        window = max(1, len(steps) // 20)
        figure = Figure(figsize=(11, 6), layout="constrained")
        loss, by_sigma, norm, rate = figure.subplots(2, 2).flat
        loss.plot(steps["loss"], alpha=0.35)
        loss.plot(steps["loss"].rolling(window, min_periods=1).mean(), label=f"mean of {window}")
        loss.set(title="loss", xlabel="step")
        loss.legend()
        for i in range(SIGMA_BINS):
            smooth = steps[f"loss_sigma_{i}"].rolling(window, min_periods=1).mean()
            by_sigma.plot(smooth, label=f"sigma {i / SIGMA_BINS:.2f} to {(i + 1) / SIGMA_BINS:.2f}")
        by_sigma.set(title="loss by noise level", xlabel="step")
        by_sigma.legend(fontsize="small")
        norm.plot(steps["grad_norm"])
        norm.set(title="gradient norm before clipping", xlabel="step")
        rate.plot(steps["learning_rate"])
        rate.set(title="learning rate", xlabel="step")
        return self.draw_figure("training.png", figure)
