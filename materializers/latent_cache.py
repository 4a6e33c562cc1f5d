"""The latent cache's index: Parquet, drawn as decoded latents beside the originals and as their distribution."""

import io
from typing import Any, ClassVar

from PIL import Image
from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from materializers.shards import shard_store
from sanaflow.cache.index import OUTLIER, LatentCache, LatentStatistics


class LatentCacheMaterializer(FileMaterializer):
    """Stores the index and the preview, never latents."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (LatentCache,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: LatentCache) -> None:
        """Write the index, and preview.png if there is one."""
        self.write_frame("entries.parquet", data.entries)
        self.write_frame("rejected.parquet", data.rejected)
        self.write_frame("channels.parquet", data.statistics.channels)
        self.write_frame("outliers.parquet", data.statistics.outliers)
        counts = {"encoded": data.encoded, "seconds": data.seconds, "bytes": data.bytes}
        has_preview = data.preview is not None
        self.write_json("cache.json", counts | {"sampled": data.statistics.sampled, "preview": has_preview})
        if data.preview is not None:
            self.draw_picture("preview.png", data.preview)

    def load(self, data_type: type[Any]) -> LatentCache:
        """Read it back."""
        cache = self.read_json("cache.json")
        channels, outliers = self.read_frame("channels.parquet"), self.read_frame("outliers.parquet")
        return LatentCache(
            store=shard_store("latents", self.artifact_store),
            entries=self.read_frame("entries.parquet"),
            rejected=self.read_frame("rejected.parquet"),
            encoded=cache["encoded"],
            seconds=cache["seconds"],
            bytes=cache["bytes"],
            statistics=LatentStatistics(cache["sampled"], channels, outliers),
            preview=Image.open(io.BytesIO(self.read_bytes("preview.png"))) if cache["preview"] else None,
        )

    def compute_content_hash(self, data: LatentCache) -> str:
        """The same pictures and keys are the same latents."""
        return data.digest()

    def extract_metadata(self, data: LatentCache) -> dict[str, MetadataType]:
        """What was encoded, how fast, and what was found."""
        latents = data.entries["key"].nunique()
        found: dict[str, MetadataType] = {
            "latents": latents,
            "encoded": data.encoded,
            "reused": latents - data.encoded,
            "rejected_pictures": len(data.rejected),
            "bytes_written": data.bytes,
            "mean": float(data.statistics.channels["mean"].mean()),
            "std": float(data.statistics.channels["std"].mean()),
            "outliers": len(data.statistics.outliers),
        }
        if data.seconds:
            found["pictures_per_second"] = data.encoded / data.seconds
        return found

    def save_visualizations(self, data: LatentCache) -> dict[str, VisualizationType]:
        """The preview, the channels' distribution, a summary, and what was rejected."""
        drawn = self.draw_picture("preview.png", data.preview) if data.preview is not None else {}
        drawn |= self._draw_channels(data.statistics) | self.draw_text("summary.md", _summary(data))
        if len(data.rejected):
            lines = "\n".join(f"- **{r.dataset}/{r.file}**: {r.reason}" for r in data.rejected.itertuples())
            drawn |= self.draw_text("rejected.md", f"# {len(data.rejected):,} pictures rejected\n\n{lines}\n")
        return drawn

    def _draw_channels(self, statistics: LatentStatistics) -> dict[str, VisualizationType]:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.5), layout="constrained")
        axes = figure.subplots()
        channels = statistics.channels
        axes.errorbar(channels.index, channels["mean"], yerr=channels["std"], fmt="o", capsize=3, label="mean ± std")
        axes.axhspan(-1, 1, color="tab:green", alpha=0.12, label="0 ± 1")
        axes.set(title=f"{statistics.sampled:,} latents", xlabel="channel", ylabel="value, as the transformer sees it")
        axes.legend()
        return self.draw_figure("channels.png", figure)


def _summary(data: LatentCache) -> str:
    latents = data.entries["key"].nunique()
    lines = [
        f"# {latents:,} latents",
        "",
        f"- {latents - data.encoded:,} reused, {data.encoded:,} encoded, {len(data.rejected):,} pictures rejected",
    ]
    if data.seconds:
        speed = f"{data.encoded / data.seconds:,.1f} pictures/s, {data.bytes / 2**20:,.1f} MiB written"
        lines += [f"- {data.seconds:,.1f} s: {speed}"]
    for odd in data.statistics.outliers.head(10).itertuples():
        lines += [f"- outlier: {odd.dataset}/{odd.id[:12]}, root mean square {odd.rms:.2f} (more than {OUTLIER:g} "]
        lines[-1] += "deviations from the median): look at this picture"
    return "\n".join(lines) + "\n"
