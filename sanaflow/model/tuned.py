"""The artifact of training: where the tuned weights are and what they came from."""

from dataclasses import dataclass
from pathlib import Path

from sanaflow.digests import digest_of, file_digest
from sanaflow.errors import InputError

LORA_FILE, LYCORIS_CONFIG_FILE = "pytorch_lora_weights.safetensors", "lycoris_config.json"
"""Of an adapter's folder; the second with LyCORIS alone."""


@dataclass(frozen=True)
class SanaModel:
    """A tuned transformer, or an adapter on the base model's.

    Attributes:
        folder: The weights, in a folder whose name is their digest. `kind` 'full': a transformer as
            `SanaTransformer2DModel.from_pretrained` loads it. 'standard': a LoRA as `SanaPipeline.load_lora_weights`
            loads it. 'lycoris': LyCORIS' weights and configuration.
        steps: Optimizer steps taken.
        base_model: Name of the model it started from, with its commit if it has one.
        base_digest: That model's digest.
        data_digests: Digests of the latent and the caption cache it saw.
        settings: The training settings.
        kind: What the folder holds.
        started_from: Digest of the tuned model whose weights it began with; None: the base model's.
        ema: Whether its folder `ema` holds the moving average, in the same form. The average is then what is drawn
            with, judged and released; the weights that training ended with are beside it.
    """

    folder: Path
    steps: int
    base_model: str
    base_digest: str
    data_digests: dict[str, str]
    settings: dict
    kind: str = "full"
    ema: bool = False
    started_from: str | None = None

    def digest(self) -> str:
        """sha256 over the weights and the config."""
        return self.folder.name

    def versions(self) -> dict[str, Path]:
        """Where the weights are: 'tuned', the average if there is one; 'raw' are then those without averaging."""
        return {"tuned": self.folder / "ema", "raw": self.folder} if self.ema else {"tuned": self.folder}

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
    """sha256 over all files of a model's folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of({path.relative_to(folder).as_posix(): file_digest(path) for path in files})
