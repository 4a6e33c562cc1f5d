"""What one worker encoded: Parquet, drawn as decoded latents beside the originals."""

import io
from typing import Any, ClassVar

from PIL import Image
from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.cache.parts import EncodedPart


class EncodedPartMaterializer(FileMaterializer):
    """Stores what failed and the preview; the tensors are in the shards."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (EncodedPart,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: EncodedPart) -> None:
        """Write the failures and, if there is one, the preview."""
        self.write_frame("failed.parquet", data.failed)
        counts = {"encoded": data.encoded, "seconds": data.seconds, "bytes": data.bytes}
        self.write_json("part.json", counts | {"preview": data.preview is not None})
        if data.preview is not None:
            self.draw_picture("preview.png", data.preview)

    def load(self, data_type: type[Any]) -> EncodedPart:
        """Read it back."""
        part = self.read_json("part.json")
        preview = Image.open(io.BytesIO(self.read_bytes("preview.png"))) if part.pop("preview") else None
        return EncodedPart(failed=self.read_frame("failed.parquet"), preview=preview, **part)

    def compute_content_hash(self, data: EncodedPart) -> str:
        """The same failures; what was encoded is told by the work and the store."""
        return data.digest()

    def extract_metadata(self, data: EncodedPart) -> dict[str, MetadataType]:
        """How many, how fast, how large."""
        found: dict[str, MetadataType] = {"encoded": data.encoded, "failed": len(data.failed), "bytes": data.bytes}
        if data.seconds:
            found |= {"seconds": data.seconds, "per_second": data.encoded / data.seconds}
        return found

    def save_visualizations(self, data: EncodedPart) -> dict[str, VisualizationType]:
        """How many and how fast, and the preview, if pictures were encoded."""
        text = f"# {data.encoded:,} encoded, {len(data.failed):,} failed\n"
        if data.seconds:
            text += f"\n{data.encoded / data.seconds:,.1f} a second, {data.bytes / 2**20:,.2f} MiB written\n"
        drawn = self.draw_picture("preview.png", data.preview) if data.preview is not None else {}
        return drawn | self.draw_text("part.md", text)
