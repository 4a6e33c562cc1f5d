"""The bucket plan: Parquet, drawn as a histogram of buckets and the crops' outlines."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.buckets.plan import BucketPlan

OUTLINES = 24


class BucketPlanMaterializer(FileMaterializer):
    """Stores rows."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (BucketPlan,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: BucketPlan) -> None:
        """Write crops.parquet."""
        self.write_frame("crops.parquet", data.crops)

    def load(self, data_type: type[Any]) -> BucketPlan:
        """Read it back."""
        return BucketPlan(self.read_frame("crops.parquet"))

    def compute_content_hash(self, data: BucketPlan) -> str:
        """The same rows are the same plan."""
        return data.digest()

    def extract_metadata(self, data: BucketPlan) -> dict[str, MetadataType]:
        """Counts."""
        return {"pictures": len(data.crops), "buckets": {k: int(n) for k, n in data.bucket_sizes().items()}}

    def save_visualizations(self, data: BucketPlan) -> dict[str, VisualizationType]:
        """Pictures a bucket, and for some pictures what of them is kept."""
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        sizes = data.bucket_sizes()[::-1]
        figure = Figure(figsize=(11, max(3.5, 0.28 * len(sizes) + 1)), layout="constrained")
        bars, crops = figure.subplots(1, 2)
        bars.bar_label(bars.barh(sizes.index, sizes), padding=2)
        bars.set(title="pictures per bucket", xlabel="pictures", ylabel="width x height in pixels")
        longest = max(data.crops[["resize_width", "resize_height"]].max())
        shown = data.crops.iloc[:: max(1, len(data.crops) // OUTLINES)].head(OUTLINES)
        for i, c in enumerate(shown.itertuples()):
            x, y = (i % 6) * longest * 1.1, (i // 6) * longest * 1.1
            crops.add_patch(Rectangle((x, y), c.resize_width, c.resize_height, color="lightgrey"))
            crops.add_patch(Rectangle((x + c.left, y + c.top), c.width, c.height, fill=False, color="tab:red", lw=1.5))
        crops.set(title="resized (grey) and cropped (red)", aspect="equal", xticks=[], yticks=[])
        crops.autoscale_view()
        crops.invert_yaxis()
        return self.draw_figure("buckets.png", figure)
