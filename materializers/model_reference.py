"""The base model: JSON."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.model.reference import COMPONENTS, ModelReference


class ModelReferenceMaterializer(FileMaterializer):
    """Stores names and digests, never weights."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (ModelReference,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: ModelReference) -> None:
        """Write reference.json."""
        self.write_json("reference.json", {"name": data.name, "commit": data.commit, "files": data.files})

    def load(self, data_type: type[Any]) -> ModelReference:
        """Read it back."""
        return ModelReference(**self.read_json("reference.json"))

    def compute_content_hash(self, data: ModelReference) -> str:
        """The same files are the same model, wherever they lie."""
        return data.digest()

    def extract_metadata(self, data: ModelReference) -> dict[str, MetadataType]:
        """Name, commit and digest."""
        return {"model": data.name, "commit": data.commit or "a folder", "digest": data.digest()}

    def save_visualizations(self, data: ModelReference) -> dict[str, VisualizationType]:
        """Components and their digests."""
        rows = "\n".join(f"| {component} | `{data.digest(component)[:16]}` |" for component in COMPONENTS)
        where = f"commit `{data.commit}`" if data.commit else "a folder"
        return self.draw_text("model.md", f"# {data.name}\n\n{where}\n\n| component | sha256 |\n|---|---|\n{rows}\n")
