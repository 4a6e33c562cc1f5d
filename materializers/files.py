"""What the artifacts' files have in common: Parquet, JSON and PNG in the artifact store; never pickle."""

import io
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image
from zenml.enums import VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from sanaflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FileMaterializer(BaseMaterializer):
    """A materializer with readers and writers for its folder."""

    SKIP_REGISTRATION = True

    def path(self, name: str) -> str:
        """The address of a file of this artifact."""
        return str(PurePosixPath(self.uri) / name) if "://" not in self.uri else f"{self.uri}/{name}"

    def write_bytes(self, name: str, data: bytes) -> str:
        """Write a file and return its address."""
        with self.artifact_store.open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def read_bytes(self, name: str) -> bytes:
        """Read a file."""
        try:
            with self.artifact_store.open(self.path(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise InputError(
                f"the artifact file '{self.path(name)}' is gone, though ZenML still counts on it: "
                "run once more with `enable_cache: false` at the top of the YAML, which makes it anew"
            ) from None

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as Parquet."""
        self.write_bytes(name, frame.to_parquet(index=False))

    def read_frame(self, name: str) -> pd.DataFrame:
        """Read a table back."""
        return pd.read_parquet(io.BytesIO(self.read_bytes(name)))

    def write_json(self, name: str, value: Any) -> None:
        """Write plain data."""
        self.write_bytes(name, json.dumps(value, indent=2).encode())

    def read_json(self, name: str) -> Any:
        """Read plain data back."""
        return json.loads(self.read_bytes(name))

    def draw_picture(self, name: str, picture: Image.Image) -> dict[str, VisualizationType]:
        """Write a picture for the dashboard."""
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return {self.write_bytes(name, buffer.getvalue()): VisualizationType.IMAGE}

    def draw_figure(self, name: str, figure: "Figure") -> dict[str, VisualizationType]:
        """Write a matplotlib figure for the dashboard."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        return {self.write_bytes(name, buffer.getvalue()): VisualizationType.IMAGE}

    def draw_text(self, name: str, text: str) -> dict[str, VisualizationType]:
        """Write Markdown or, for a name that ends so, HTML for the dashboard."""
        kind = VisualizationType.HTML if name.endswith(".html") else VisualizationType.MARKDOWN
        return {self.write_bytes(name, text.encode()): kind}
