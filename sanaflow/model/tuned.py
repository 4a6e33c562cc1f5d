"""The artifact of training: where the tuned weights are and what they came from."""

from dataclasses import dataclass
from pathlib import Path

from sanaflow.digests import digest_of, file_digest
from sanaflow.errors import InputError


@dataclass(frozen=True)
class SanaModel:
    """A tuned transformer.

    Attributes:
        folder: The transformer's folder as `SanaTransformer2DModel.from_pretrained` loads it; its name is the digest.
        steps: Optimizer steps taken.
        base_model: Name of the model it started from, with its commit if it has one.
        base_digest: That model's digest.
        data_digests: Digests of the latent and the caption cache it saw.
        settings: The training settings.
    """

    folder: Path
    steps: int
    base_model: str
    base_digest: str
    data_digests: dict[str, str]
    settings: dict

    def digest(self) -> str:
        """sha256 over the weights and the config."""
        return self.folder.name

    def verify(self) -> None:
        """Check the weights against their digest.

        Raises:
            InputError: They are missing or damaged.
        """
        if weights_digest(self.folder) != self.digest():
            raise InputError(
                f"the tuned model '{self.folder}' is missing or damaged: "
                "run once more with `enable_cache: false` under `steps: train_sana:`, which trains it anew"
            )


def weights_digest(folder: Path) -> str:
    """sha256 over a transformer's folder: its weights and its config."""
    return digest_of({path.name: file_digest(path) for path in sorted(folder.iterdir())} if folder.is_dir() else {})
