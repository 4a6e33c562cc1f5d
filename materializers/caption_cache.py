"""The caption cache's index: Parquet, drawn as a histogram of lengths."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from materializers.shards import shard_store
from sanaflow.cache.index import CaptionCache


class CaptionCacheMaterializer(FileMaterializer):
    """Stores the index, never embeddings."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (CaptionCache,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: CaptionCache) -> None:
        """Write the index."""
        self.write_frame("captions.parquet", data.captions)
        self.write_frame("texts.parquet", data.texts)
        counts = {"encoded": data.encoded, "seconds": data.seconds, "bytes": data.bytes}
        self.write_json("cache.json", counts | {"fingerprint": data.fingerprint})

    def load(self, data_type: type[Any]) -> CaptionCache:
        """Read it back."""
        cache = self.read_json("cache.json")
        return CaptionCache(
            store=shard_store("captions", self.artifact_store),
            captions=self.read_frame("captions.parquet"),
            texts=self.read_frame("texts.parquet"),
            **cache,
        )

    def compute_content_hash(self, data: CaptionCache) -> str:
        """The same captions and encoder are the same embeddings."""
        return data.digest()

    def extract_metadata(self, data: CaptionCache) -> dict[str, MetadataType]:
        """What was encoded, how fast, and what was found."""
        found: dict[str, MetadataType] = {
            "texts": len(data.texts),
            "encoded": data.encoded,
            "reused": len(data.texts) - data.encoded,
            "tokens": int(data.texts["tokens"].sum()),
            "bytes_written": data.bytes,
        }
        if data.seconds:
            found["texts_per_second"] = data.encoded / data.seconds
        return found

    def save_visualizations(self, data: CaptionCache) -> dict[str, VisualizationType]:
        """How long the texts are."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 3.5), layout="constrained")
        axes = figure.subplots()
        tokens = data.texts["tokens"]
        axes.hist(tokens, bins=range(int(tokens.max()) + 2) if tokens.max() < 60 else 60, align="left", rwidth=0.9)
        axes.set(title=f"{len(tokens):,} captions and prompts", xlabel="tokens kept", ylabel="texts")
        return self.draw_figure("lengths.png", figure)
