"""The bucket plan: Parquet, drawn as a histogram of buckets and pictures with their crops."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.buckets.plan import BucketPlan


class BucketPlanMaterializer(FileMaterializer):
    """Stores rows."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (BucketPlan,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: BucketPlan) -> None:
        """Write two Parquet files and the batch."""
        self.write_frame("crops.parquet", data.crops)
        self.write_frame("filtered.parquet", data.filtered)
        self.write_json("plan.json", {"batch": data.batch})

    def load(self, data_type: type[Any]) -> BucketPlan:
        """Read them back, without the preview."""
        crops, filtered = self.read_frame("crops.parquet"), self.read_frame("filtered.parquet")
        return BucketPlan(crops, filtered, self.read_json("plan.json")["batch"])

    def compute_content_hash(self, data: BucketPlan) -> str:
        """The same rows are the same plan."""
        return data.digest()

    def extract_metadata(self, data: BucketPlan) -> dict[str, MetadataType]:
        """Counts."""
        sizes = {f"{b.size} {b.role}": int(b.pictures) for b in data.buckets().itertuples()}
        return {"pictures": sum(sizes.values()), "filtered": len(data.filtered), "buckets": sizes}

    def save_visualizations(self, data: BucketPlan) -> dict[str, VisualizationType]:
        """Samples a bucket against the batch, pictures with their crops, and what the settings leave out."""
        from matplotlib.figure import Figure

        buckets = data.buckets()[::-1]
        figure = Figure(figsize=(10, max(3, 0.28 * len(buckets) + 1)), layout="constrained")
        axes = figure.subplots()
        names = [f"{b.size} ({b.bucket})" + (f" {b.role}" if b.role != "train" else "") for b in buckets.itertuples()]
        bars = axes.barh(names, buckets["samples"])
        pictures = [f"{n:,} picture{'s' * (n != 1)}" for n in buckets["pictures"]]
        axes.bar_label(bars, pictures, padding=3)
        axes.axvline(data.batch, color="tab:red", label=f"a batch: {data.batch}")
        axes.set(
            title="samples per bucket", xlabel="samples in an epoch", ylabel="width x height in pixels (aspect ratio)"
        )
        axes.margins(x=0.12)
        axes.legend(loc="lower right")
        drawn = self.draw_figure("buckets.png", figure)
        if data.preview is not None:
            drawn |= self.draw_picture("crops.png", data.preview)
        if len(data.filtered):
            counts = data.filtered.groupby(["dataset", "reason"]).size()
            lines = "\n".join(f"- **{dataset}**: {count:,} {reason}" for (dataset, reason), count in counts.items())
            drawn |= self.draw_text("filtered.md", f"# {len(data.filtered):,} pictures left out\n\n{lines}\n")
        return drawn
