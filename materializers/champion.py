"""The champion: JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.model.champion import Champion
from sanaflow.model.tuned import SanaModel


class ChampionMaterializer(FileMaterializer):
    """Stores a reference: the weights are in the store already."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Champion,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: Champion) -> None:
        """Write champion.json."""
        tuned = asdict(data.tuned) | {"folder": str(data.tuned.folder)} if data.tuned else None
        self.write_json("champion.json", asdict(data) | {"tuned": tuned})

    def load(self, data_type: type[Any]) -> Champion:
        """Read it back."""
        stored = self.read_json("champion.json")
        tuned = stored["tuned"] and SanaModel(**stored["tuned"] | {"folder": Path(stored["tuned"]["folder"])})
        return Champion(**stored | {"tuned": tuned})

    def compute_content_hash(self, data: Champion) -> str:
        """The same weights to be scored beside are the same champion."""
        return data.digest()

    def extract_metadata(self, data: Champion) -> dict[str, MetadataType]:
        """Which version."""
        return {"version": data.version or "none", "scored": data.tuned is not None}

    def save_visualizations(self, data: Champion) -> dict[str, VisualizationType]:
        """In a sentence or two."""
        if data.version is None:
            nobody = "No model version is in the stage yet: the base is what is to be beaten."
            return self.draw_text("champion.md", f"# No champion\n\n{nobody}\n")
        said = data.keeps_its_place or "It is scored beside the tuned model."
        return self.draw_text("champion.md", f"# Version {data.version}\n\n{said}\n")
