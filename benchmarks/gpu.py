"""A training step of Sana 1.6B at 1024 px on the GPU here: pictures a second, and memory against what `fit` expects.

python -m benchmarks.gpu [--case NAME]

The real shape with random weights, latents and captions of 300 tokens: speed and memory don't depend on their values.
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

from benchmarks.checkpointing import GIB, SANA_1600M
from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.model.attention import keep_linear_attention_fp32
from sanaflow.model.loading import DTYPES
from sanaflow.model.tunable import tunable_of
from sanaflow.training.batches import Batch
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.loop import Loop
from sanaflow.training.memory import estimate
from sanaflow.training.setup import make_accelerator, set_up

LATENTS, TOKENS, STEPS, WARM_UP = (32, 32), 300, 10, 3
LORA = {"model_type": "lora", "lora_type": "standard"}
IN_BF16 = {"base_model_default_dtype": "bf16"}
CASES: dict[str, dict[str, Any]] = {
    "all weights": {},
    "all weights, fp16 products": {"mixed_precision": "fp16"},
    "all weights, 8-bit AdamW": {"optimizer": "bnb-adamw8bit"},
    "all weights in bf16, Kahan AdamW": {**IN_BF16, "optimizer": "optimi-adamw"},
    "all weights, recomputed, batch 32": {"gradient_checkpointing": True, "train_batch_size": 32},
    "LoKr": {"model_type": "lora"},
    "LoRA": LORA,
    "LoRA on 8 bits": {**LORA, **IN_BF16, "base_model_precision": "int8-bnb"},
    "LoRA on 4 bits": {**LORA, **IN_BF16, "base_model_precision": "nf4-bnb"},
    "lowest: LoRA on 4 bits, paged 8-bit Lion, recomputed, batch 1": {
        **LORA,
        **IN_BF16,
        **{"base_model_precision": "nf4-bnb", "quantize_via": "cpu", "optimizer": "bnb-lion8bit-paged"},
        **{"gradient_checkpointing": True, "train_batch_size": 1},
    },
    "all weights, compiled": {"torch_compile": True},
}
"""All with batch 8 and bf16 products unless they say otherwise."""


class RandomBatches:
    """The same random batch at every number."""

    def __init__(self, batch: int, channels: int) -> None:
        """In memory that the GPU can copy from while it works."""
        draw = torch.Generator().manual_seed(0)
        self.batch = Batch(
            latents=torch.randn(batch, 32, *LATENTS, generator=draw),
            embeddings=torch.randn(batch, TOKENS, channels, generator=draw).bfloat16(),
            mask=torch.ones(batch, TOKENS, dtype=torch.long),
        )

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`."""
        return self.batch


def run_case(case: str, config: dict[str, Any] = SANA_1600M) -> dict[str, float]:
    """Median seconds of a step, and bytes expected and taken at the worst moment."""
    options: dict[str, Any] = {
        "mixed_precision": "bf16",
        "train_batch_size": 8,
        "max_train_steps": STEPS + WARM_UP,
    } | CASES[case]
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
        batches: Any = RandomBatches(settings.train_batch_size, config["caption_channels"])
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
    expected = estimate(config, settings, latent_size=LATENTS, text_tokens=TOKENS).total
    return {
        **{"seconds": statistics.median(seconds[WARM_UP:]), "batch": settings.train_batch_size, "left_out": left_out},
        **{"expected": expected, "taken": torch.cuda.max_memory_allocated()},
    }


@click.command(help=__doc__)
@click.option("--case", help="Only this one, in this process; prints JSON.")
def main(case: str | None) -> None:
    """Print a line a case."""
    if not torch.cuda.is_available():
        raise click.ClickException("there is no GPU here, and this measures one")
    if case:
        print(json.dumps(run_case(case)))
        return
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    for name in CASES:
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
