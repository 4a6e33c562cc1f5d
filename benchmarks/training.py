"""What the real training loop costs beside a bare one: reading, logging, clipping, moving average, checks.

python -m benchmarks.training

Bare is forward, loss, backward and optimizer on tensors in memory. Both take the same batches and the same model of 6
layers, 384 wide, at 32 x 32 latents; rounds alternate, and medians of seconds a step are compared.
"""

import contextlib
import io
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks._caches import bundled_pictures, encode, small_model
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.model.tunable import load_tunable
from sanaflow.training.batches import Batches
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.loop import Loop
from sanaflow.training.loss import batch_losses
from sanaflow.training.setup import make_accelerator, set_up

SHAPE: dict[str, Any] = {
    **{"num_layers": 6, "num_attention_heads": 12, "attention_head_dim": 32, "num_cross_attention_heads": 6},
    **{"cross_attention_head_dim": 64, "cross_attention_dim": 384},
}
STEPS, ROUNDS = 12, 4
CPU = torch.device("cpu")
Seconds = tuple[float, float]


def settings(*, ema: bool) -> TrainingSettings:
    """Of both loops."""
    return TrainingSettings(
        from_scratch=True,
        transformer_config=SHAPE,
        mixed_precision="no",
        train_batch_size=4,
        max_train_steps=STEPS,
        checkpointing_steps=10_000,
        use_ema=ema,
    )


class _Timed(Loop):
    """Notes when each step begins; from one beginning to the next is all that a step costs."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.begun: list[Seconds] = []

    def _step(self, step: int) -> dict:
        self.begun.append((time.perf_counter(), time.process_time()))
        return super()._step(step)


def real(caches: tuple[LatentCache, CaptionCache], chosen: TrainingSettings, folder: Path) -> list[Seconds]:
    """Wall and CPU seconds of each step but the first."""
    tunable, batches = load_tunable(small_model(), chosen, CPU), Batches(*caches, chosen)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        accelerator = make_accelerator(chosen, ValidationSettings(), folder)
        setup = set_up(tunable, batches, settings=chosen, accelerator=accelerator)
        loop = _Timed(setup, batches, settings=chosen, checkpoints=Checkpoints(folder / "checkpoints", keep=1))
        loop.run()
    return _differences(loop.begun)


def bare(caches: tuple[LatentCache, CaptionCache], chosen: TrainingSettings) -> list[Seconds]:
    """The same of a bare loop."""
    tunable, batches = load_tunable(small_model(), chosen, CPU), Batches(*caches, chosen)
    module = tunable.transformer.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=chosen.learning_rate, fused=True)
    in_memory = [batches[number] for number in range(STEPS)]
    begun: list[Seconds] = []
    for number, batch in enumerate(in_memory):
        begun.append((time.perf_counter(), time.process_time()))
        batch_losses(module, batch, number=number, settings=chosen, device=CPU)[0].mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return _differences(begun)


def _differences(begun: list[Seconds]) -> list[Seconds]:
    pairs = list(itertools.pairwise(begun))[1:]
    return [(later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in pairs]


def main() -> None:
    """Print both, and the share that is left of a bare loop's speed."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        caches = encode(folder, {"set": ("image", bundled_pictures()[:16])}, resolution=256)
        found: dict[str, list[Seconds]] = {"bare": [], "real": [], "real, with moving average": []}
        for turn in range(ROUNDS):
            found["bare"] += bare(caches, settings(ema=False))
            found["real"] += real(caches, settings(ema=False), folder / f"{turn}")
            found["real, with moving average"] += real(caches, settings(ema=True), folder / f"{turn}-ema")
    least = [statistics.median(one[i] for one in found["bare"]) for i in (0, 1)]
    for name, seconds in found.items():
        wall, cpu = (statistics.median(one[i] for one in seconds) for i in (0, 1))
        share = f"{least[0] / wall:.3f} of the bare loop's steps a second, {least[1] / cpu:.3f} by CPU seconds"
        print(f"{name:<28} {wall:.3f} s a step, {cpu:.3f} CPU s: {share}")


if __name__ == "__main__":
    main()
