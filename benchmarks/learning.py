"""Whether it learns: the loss on fixed noise before and after, for all weights and for a LoKr, on three seeds.

python -m benchmarks.learning

16 bundled pictures are learned; the loss is measured on these very pictures, and on 8 that were never shown. The LoKr
is on a base that all weights were trained of on 40 others, as the small model's last layer is zero.
"""

import contextlib
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._caches import bundled_pictures, encode, small_model
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import ModelSettings, ValidationSettings
from sanaflow.model.reference import ModelReference, resolve_model
from sanaflow.training.log import TrainingLog
from sanaflow.training.run import train_sana
from sanaflow.training_settings import TrainingSettings

STEPS, SEEDS = 300, (0, 1, 2)
COMMON: dict[str, Any] = {"train_batch_size": 8, "mixed_precision": "no", "checkpointing_steps": 100_000}
FULL = {**COMMON, "learning_rate": 1e-3, "max_train_steps": STEPS}
LOKR = {**COMMON, "learning_rate": 3e-3, "max_train_steps": STEPS, "model_type": "lora"}


def train(
    folder: Path, caches: tuple[LatentCache, CaptionCache], model: ModelReference, settings: dict
) -> tuple[Path, TrainingLog]:
    """Weights' folder and log, quietly."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tuned, log = train_sana(
            *caches,
            model=model,
            settings=TrainingSettings(**settings),
            run_folder=folder / "run",
            models_folder=folder / "models",
            validation=ValidationSettings(num_eval_images=16),
        )
    return tuned.folder, log


def trained_base(folder: Path) -> ModelReference:
    """The small model with a transformer that has seen 40 pictures."""
    caches = encode(folder / "data", {"others": ("image", bundled_pictures()[24:])})
    weights, _ = train(folder, caches, small_model(), {**FULL, "max_train_steps": 600})
    whole = Path(shutil.copytree(small_model().folder(), folder / "model"))
    shutil.rmtree(whole / "transformer")
    shutil.copytree(weights, whole / "transformer")
    return resolve_model(ModelSettings(pretrained_model_name_or_path=str(whole)))


def main() -> None:
    """Print the losses."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seen, unseen = bundled_pictures()[:16], bundled_pictures()[16:24]
        sets = {"learned": ("image", seen), "seen": ("eval", seen), "unseen": ("eval", unseen)}
        caches = encode(folder / "data", sets)
        base = trained_base(folder / "base")
        for kind, settings, model in (("all weights", FULL, small_model()), ("LoKr", LOKR, base)):
            for seed in SEEDS:
                _, log = train(folder / f"{kind}-{seed}", caches, model, {**settings, "seed": seed})
                means = log.evaluations.groupby(["dataset", "step"])["loss"].mean()
                said = []
                for name in ("seen", "unseen"):
                    before, after = means[name].loc[0], means[name].loc[STEPS]
                    said.append(f"{name} {before:.3f} -> {after:.3f} ({after / before - 1:+.0%})")
                print(f"{kind:<12} seed {seed}: {', '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
