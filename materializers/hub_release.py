"""The release: JSON, shown as a listing."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType, Uri

from materializers.files import FileMaterializer
from sanaflow.publishing.manifest import HubRelease


class HubReleaseMaterializer(FileMaterializer):
    """Stores the listing, never the files."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (HubRelease,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: HubRelease) -> None:
        """Write release.json."""
        self.write_json("release.json", asdict(data) | {"folder": str(data.folder)})

    def load(self, data_type: type[Any]) -> HubRelease:
        """Read it back."""
        stored = self.read_json("release.json")
        return HubRelease(**stored | {"folder": Path(stored["folder"])})

    def extract_metadata(self, data: HubRelease) -> dict[str, MetadataType]:
        """Where to find it."""
        found: dict[str, MetadataType] = {"folder": str(data.folder), "files": len(data.files)}
        if data.repo and data.commit and data.url:
            found |= {"repo": data.repo, "commit": data.commit, "url": Uri(data.url)}
        return found

    def save_visualizations(self, data: HubRelease) -> dict[str, VisualizationType]:
        """Every file with its checksum."""
        where = f"[{data.repo}]({data.url}) at `{data.commit}`" if data.repo else "not pushed: no `hub_model_id` is set"
        rows = "\n".join(f"| {path} | `{digest[:16]}` |" for path, digest in data.files.items())
        text = f"# Release\n\n- folder: `{data.folder}`\n- hub: {where}\n\n| file | sha256 |\n|---|---|\n{rows}\n"
        return self.draw_text("release.md", text)
