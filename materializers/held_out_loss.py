"""Losses on held-out pictures: Parquet, drawn as curves over the noise level."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.digests import table_digest
from sanaflow.evaluation.losses import HeldOutLoss


class HeldOutLossMaterializer(FileMaterializer):
    """Stores one row a set and noise level."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (HeldOutLoss,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: HeldOutLoss) -> None:
        """Write losses.parquet."""
        self.write_frame("losses.parquet", data.losses)

    def load(self, data_type: type[Any]) -> HeldOutLoss:
        """Read it back."""
        return HeldOutLoss(self.read_frame("losses.parquet"))

    def compute_content_hash(self, data: HeldOutLoss) -> str:
        """The same numbers are the same losses."""
        return table_digest(data.losses)

    def extract_metadata(self, data: HeldOutLoss) -> dict[str, MetadataType]:
        """The means."""
        return {f"mean_{name}": float(value) for name, value in data.means().items()}

    def save_visualizations(self, data: HeldOutLoss) -> dict[str, VisualizationType]:
        """A line a model, a plot a set."""
        if data.losses.empty:
            return self.draw_text("none.md", "# Nothing is held out\n\nGive a dataset `dataset_type: eval`.\n")
        from matplotlib.figure import Figure

        sets = list(data.losses.groupby("dataset"))
        figure = Figure(figsize=(5 * len(sets), 3.5), layout="constrained")
        for axes, (name, rows) in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
            for model in rows.columns.drop(["dataset", "sigma"]):
                axes.plot(rows["sigma"], rows[model], "o-", label=f"{model}, mean {rows[model].mean():.3f}")
            axes.set(title=str(name), xlabel="noise level (sigma)", ylabel="loss", ylim=(0, None))
            axes.legend()
        return self.draw_figure("losses.png", figure)
