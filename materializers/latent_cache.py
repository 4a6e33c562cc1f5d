"""The latent cache's index: Parquet, drawn as decoded latents beside the originals."""

import io
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.cache.index import LatentCache


class LatentCacheMaterializer(FileMaterializer):
    """Stores the index and the preview, never latents."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (LatentCache,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: LatentCache) -> None:
        """Write the index, and preview.png if there is one."""
        self.write_frame("entries.parquet", data.entries)
        self.write_frame("rejected.parquet", data.rejected)
        has_preview = data.preview is not None
        self.write_json("cache.json", {"folder": str(data.folder), "encoded": data.encoded, "preview": has_preview})
        if data.preview is not None:
            self.draw_picture("preview.png", data.preview)

    def load(self, data_type: type[Any]) -> LatentCache:
        """Read it back."""
        cache = self.read_json("cache.json")
        return LatentCache(
            folder=Path(cache["folder"]),
            entries=self.read_frame("entries.parquet"),
            rejected=self.read_frame("rejected.parquet"),
            encoded=cache["encoded"],
            preview=Image.open(io.BytesIO(self.read_bytes("preview.png"))) if cache["preview"] else None,
        )

    def compute_content_hash(self, data: LatentCache) -> str:
        """The same keys are the same latents."""
        return data.digest()

    def extract_metadata(self, data: LatentCache) -> dict[str, MetadataType]:
        """What was encoded and what was found."""
        return {
            "latents": len(data.entries),
            "encoded": data.encoded,
            "reused": data.entries["key"].nunique() - data.encoded,
            "rejected_pictures": len(data.rejected),
        }

    def save_visualizations(self, data: LatentCache) -> dict[str, VisualizationType]:
        """The preview, or a line that nothing was new; and what was rejected."""
        if data.preview is not None:
            drawn = self.draw_picture("preview.png", data.preview)
        else:
            drawn = self.draw_text("reused.md", f"All {len(data.entries):,} latents were in the store already.\n")
        if len(data.rejected):
            lines = "\n".join(f"- **{r.dataset}/{r.file}**: {r.reason}" for r in data.rejected.itertuples())
            drawn |= self.draw_text("rejected.md", f"# {len(data.rejected):,} pictures rejected\n\n{lines}\n")
        return drawn
