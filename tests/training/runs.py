"""Runs of a few steps, in this process or in others that are to be killed."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from sanaflow.config import TrainingSettings
from sanaflow.training.batches import Batches
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.loop import Loop
from sanaflow.training.run import train_sana
from sanaflow.training.setup import make_accelerator, set_up
from tests.environment import PROJECT

SHORT = {
    **{"max_train_steps": 6, "train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 1e-3},
    **{"lr_scheduler": "cosine", "lr_warmup_steps": 2, "mixed_precision": "no", "checkpointing_steps": 2},
}
CPU = torch.device("cpu")


def short(**settings) -> TrainingSettings:
    """Six steps."""
    left_out = {"max_train_steps"} if "num_train_epochs" in settings else set()
    return TrainingSettings(**{k: v for k, v in (SHORT | settings).items() if k not in left_out})


def train_on(caches, model, folder: Path, settings: dict, **options):
    """A whole run: (tuned, log)."""
    return train_sana(
        *caches,
        model=model,
        settings=short(**settings),
        run_folder=folder / "run",
        models_folder=folder / "models",
        **options,
    )


def train_in_place(tunable, batches: Batches, settings: TrainingSettings, folder: Path, **options):
    """The loop alone, on a model at hand: its log."""
    from sanaflow.config import ValidationSettings

    validation = options.pop("validation", ValidationSettings())
    setup = set_up(tunable, batches, settings=settings, accelerator=make_accelerator(settings, validation, folder))
    checkpoints = Checkpoints(folder / "checkpoints", keep=settings.checkpoints_total_limit)
    loop = Loop(setup, batches, settings=settings, checkpoints=checkpoints, validation=validation, **options)
    return loop.run()


def weights_of(tuned, version: str = "tuned") -> dict[str, torch.Tensor]:
    """All tensors of a tuned model."""
    [file] = tuned.versions()[version].glob("*.safetensors")
    return load_file(file)


def write_request(caches, model, folder: Path, settings: dict) -> Path:
    """Put a run into files, for `start`."""
    folder.mkdir(parents=True, exist_ok=True)
    latents, captions = caches
    latents.entries.to_parquet(folder / "latents.parquet")
    captions.captions.to_parquet(folder / "captions.parquet")
    captions.texts.to_parquet(folder / "texts.parquet")
    request = {
        **{"latents": latents.store.place, "captions": captions.store.place, "fingerprint": captions.fingerprint},
        **{"model": model.name, "settings": {**SHORT, **settings}},
    }
    (folder / "request.json").write_text(json.dumps(request, default=str))
    return folder


def start(folder: Path, *launcher: str, **popen) -> subprocess.Popen:
    """Begin, or go on with, the run in another process, or through a launcher in several."""
    command = [sys.executable, *launcher, "-m", "tests.training.runs", str(folder)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen)


def main(folder: Path) -> None:
    """What such a process does."""
    import pandas as pd

    from sanaflow.cache.folder import FolderStore
    from sanaflow.cache.index import CaptionCache, LatentCache
    from sanaflow.config import ModelSettings
    from sanaflow.model.reference import resolve_model

    request = json.loads((folder / "request.json").read_text())
    latents, captions, texts = (pd.read_parquet(folder / f"{n}.parquet") for n in ("latents", "captions", "texts"))
    caches = (
        LatentCache(FolderStore(Path(request["latents"])), latents, latents[:0], 0, 0.0, 0, None),
        CaptionCache(FolderStore(Path(request["captions"])), request["fingerprint"], captions, texts, 0, 0.0, 0),
    )
    model = resolve_model(ModelSettings(pretrained_model_name_or_path=request["model"]))
    tuned, _ = train_on(caches, model, folder, request["settings"])
    sys.stdout.write(f"RESULT {tuned.digest()}\n")  # at once: processes share the output


if __name__ == "__main__":
    main(Path(sys.argv[1]))
