"""A training step of Sana on the GPU here: pictures a second, and memory against what `fit` expects.

python -m benchmarks.gpu [--case NAME] [--only WORD]

The real shapes with random weights, latents and captions of 300 tokens: speed and memory don't depend on their values.
Steps are the training loop's own, clipping, checks and all, without reading from the caches. Each case is a process of
its own.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from diffusers import SanaTransformer2DModel

from benchmarks.checkpointing import GIB
from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.model.attention import keep_linear_attention_fp32
from sanaflow.model.loading import DTYPES
from sanaflow.model.tunable import tunable_of
from sanaflow.model.variants import COMPRESSION, VARIANTS
from sanaflow.training.batches import Batch
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.loop import Loop
from sanaflow.training.memory import estimate
from sanaflow.training.setup import make_accelerator, set_up

TOKENS, STEPS, WARM_UP = 300, 10, 3
LORA = {"model_type": "lora", "lora_type": "standard"}
IN_BF16 = {"base_model_default_dtype": "bf16"}
RECOMPUTED = {"gradient_checkpointing": True}
LOWEST = {
    **{**LORA, **IN_BF16, **RECOMPUTED, "train_batch_size": 1, "base_model_precision": "nf4-bnb"},
    **{"quantize_via": "cpu", "optimizer": "bnb-lion8bit-paged"},
}
MAIN = "1.6b-1024"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "all weights": (MAIN, {}),
    "all weights, fp16 products": (MAIN, {"mixed_precision": "fp16"}),
    "all weights, 8-bit AdamW": (MAIN, {"optimizer": "bnb-adamw8bit"}),
    "all weights in bf16, Kahan AdamW": (MAIN, {**IN_BF16, "optimizer": "optimi-adamw"}),
    "all weights, recomputed": (MAIN, RECOMPUTED),
    "all weights, compiled": (MAIN, {"torch_compile": True}),
    "LoKr": (MAIN, {"model_type": "lora"}),
    "LoRA": (MAIN, LORA),
    "LoRA on 8 bits": (MAIN, {**LORA, **IN_BF16, "base_model_precision": "int8-bnb"}),
    "LoRA on 4 bits": (MAIN, {**LORA, **IN_BF16, "base_model_precision": "nf4-bnb"}),
    "lowest: LoRA on 4 bits, paged 8-bit Lion, recomputed, batch 1": (MAIN, LOWEST),
    "0.6B at 512 px, all weights": ("0.6b-512", {}),
    "0.6B at 1024 px, all weights": ("0.6b-1024", {}),
    "2048 px, all weights, recomputed, batch 1": ("1.6b-2048", {**RECOMPUTED, "train_batch_size": 1}),
    "2048 px, lowest": ("1.6b-2048", LOWEST),
    "4096 px, LoRA in bf16, recomputed, batch 1": (
        "1.6b-4096",
        {**LORA, **IN_BF16, **RECOMPUTED, "train_batch_size": 1},
    ),
    "4096 px, lowest": ("1.6b-4096", LOWEST),
    "1.5 4.8B at 1024 px, LoRA in bf16, recomputed": ("1.5-4.8b-1024", {**LORA, **IN_BF16, **RECOMPUTED}),
    "1.5 4.8B at 1024 px, lowest": ("1.5-4.8b-1024", LOWEST),
}
"""Which model and which settings: 1024 px, batch 8 and bf16 products unless they say otherwise."""


class RandomBatches:
    """The same random batch at every number."""

    def __init__(self, batch: int, channels: int, latents: tuple[int, int]) -> None:
        """In memory that the GPU can copy from while it works."""
        draw = torch.Generator().manual_seed(0)
        self.batch = Batch(
            latents=torch.randn(batch, 32, *latents, generator=draw),
            embeddings=torch.randn(batch, TOKENS, channels, generator=draw).bfloat16(),
            mask=torch.ones(batch, TOKENS, dtype=torch.long),
        )

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`."""
        return self.batch


def run_case(case: str) -> dict[str, float]:
    """Median seconds of a step, and bytes expected and taken at the worst moment."""
    variant, changes = VARIANTS[CASES[case][0]], CASES[case][1]
    config, latents = variant.config(), (variant.edge // COMPRESSION,) * 2
    options: dict[str, Any] = {
        "mixed_precision": "bf16",
        "train_batch_size": 8,
        "max_train_steps": STEPS + WARM_UP,
    } | changes
    settings = TrainingSettings(**options)
    with tempfile.TemporaryDirectory() as folder:
        accelerator = make_accelerator(settings, ValidationSettings(), Path(folder))
        with accelerator.device:
            transformer = SanaTransformer2DModel.from_config(config)
        keep_linear_attention_fp32(transformer)
        transformer.to(DTYPES[settings.base_model_default_dtype])
        if settings.base_model_precision != "no_change":
            transformer.cpu()
        torch.cuda.empty_cache()
        tunable = tunable_of(transformer, settings, accelerator.device)
        batches: Any = RandomBatches(settings.train_batch_size, config["caption_channels"], latents)
        setup = set_up(tunable, batches, settings=settings, accelerator=accelerator)
        loop = Loop(setup, batches, settings=settings, checkpoints=Checkpoints(Path(folder), keep=1))
        seconds = []
        for step in range(STEPS + WARM_UP):
            if step == WARM_UP:
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            last = loop._step(step)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        left_out = bool(last["bad"])
    expected = estimate(config, settings, latent_size=latents, text_tokens=TOKENS).total
    return {
        **{"seconds": statistics.median(seconds[WARM_UP:]), "batch": settings.train_batch_size, "left_out": left_out},
        **{"expected": expected, "taken": torch.cuda.max_memory_allocated()},
    }


@click.command(help=__doc__)
@click.option("--case", help="Only this one, in this process; prints JSON.")
@click.option("--only", default="", help="Only those whose name has this in it.")
def main(case: str | None, only: str) -> None:
    """Print a line a case."""
    if not torch.cuda.is_available():
        raise click.ClickException("there is no GPU here, and this measures one")
    if case:
        print(json.dumps(run_case(case)))
        return
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    for name in (name for name in CASES if only in name):
        done = subprocess.run([sys.executable, "-m", "benchmarks.gpu", "--case", name], capture_output=True, text=True)
        if done.returncode:
            print(f"{name:<64} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name:<64} {found['batch'] / found['seconds']:6.2f} pictures/s, {found['seconds']:.3f} s a step; "
            f"memory expected {found['expected'] / GIB:5.1f} GiB, taken {found['taken'] / GIB:5.1f}: "
            f"{found['expected'] / found['taken']:.2f}" + (", last update LEFT OUT" if found["left_out"] else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
