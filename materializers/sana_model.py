"""The tuned model: JSON that says where the weights are and what they came from."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.model.tuned import SanaModel


class SanaModelMaterializer(FileMaterializer):
    """Stores a reference: the weights are in the store already and are not copied."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (SanaModel,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: SanaModel) -> None:
        """Write model.json."""
        self.write_json("model.json", asdict(data) | {"folder": str(data.folder)})

    def load(self, data_type: type[Any]) -> SanaModel:
        """Read it back."""
        stored = self.read_json("model.json")
        return SanaModel(**stored | {"folder": Path(stored["folder"])})

    def compute_content_hash(self, data: SanaModel) -> str:
        """The same weights are the same model."""
        return data.digest()

    def extract_metadata(self, data: SanaModel) -> dict[str, MetadataType]:
        """Where it came from."""
        found: dict[str, MetadataType] = {"digest": data.digest(), "kind": data.kind, "moving_average": data.ema}
        return found | {"steps": data.steps, "base_model": data.base_model}

    def save_visualizations(self, data: SanaModel) -> dict[str, VisualizationType]:
        """Origin and settings."""
        kind = {"full": "all weights", "standard": "LoRA", "lycoris": "LyCORIS adapter"}[data.kind]
        lines = [f"- {kind}" + (", with a moving average" if data.ema else "")]
        lines += [f"- base model: {data.base_model} (`{data.base_digest[:16]}`)", f"- steps: {data.steps:,}"]
        lines += [f"- {name}: `{digest[:16]}`" for name, digest in data.data_digests.items()]
        lines += [f"- weights: `{data.folder}`", "", "```json", json.dumps(data.settings, indent=2), "```", ""]
        return self.draw_text("model.md", "# Tuned Sana\n\n" + "\n".join(lines))
