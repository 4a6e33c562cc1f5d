"""`gradient_checkpointing_interval`: time and memory of a step, as a table and a chart.

python -m benchmarks.checkpointing [--chart docs/checkpointing.png]

0 is without gradient checkpointing; n recomputes every n-th block. Each case is a process of its own. Beside it what
the real Sana 1.6B takes at 1024 px, batch 4, by `python -m sanaflow fit`'s own count.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.fit import CONFIG, LATENTS, TOKENS
from sanaflow.config import TrainingSettings

INTERVALS = (0, 1, 2, 3, 4)
STEPS, ROUNDS = 3, 2
SANA_1600M: dict[str, Any] = {
    **{"in_channels": 32, "out_channels": 32, "num_layers": 20, "patch_size": 1, "sample_size": 32, "mlp_ratio": 2.5},
    **{"num_attention_heads": 70, "attention_head_dim": 32, "num_cross_attention_heads": 20},
    **{"cross_attention_head_dim": 112, "cross_attention_dim": 2240, "caption_channels": 2304},
}
GIB = 2**30


def chosen(interval: int) -> TrainingSettings:
    """Settings with this interval."""
    interval_of: dict[str, Any] = (
        {"gradient_checkpointing": True, "gradient_checkpointing_interval": interval} if interval else {}
    )
    return TrainingSettings(mixed_precision="no", train_batch_size=4, **interval_of)


def run_case(interval: int) -> None:
    """In a process of its own: median CPU seconds of a step, and the peak of memory."""
    from diffusers import SanaTransformer2DModel

    from benchmarks.fit import peak_bytes
    from sanaflow.model.checkpointing import recompute_blocks

    transformer = SanaTransformer2DModel.from_config(CONFIG).train()
    if interval:
        recompute_blocks(transformer, every=interval)
    optimizer = torch.optim.AdamW(transformer.parameters(), fused=True)
    noisy, texts = torch.randn(2, 32, *LATENTS), torch.randn(2, TOKENS, 512)
    seconds = []
    for _ in range(STEPS):
        began = time.process_time()
        asked = {"encoder_hidden_states": texts, "timestep": torch.rand(2), "return_dict": False}
        (transformer(noisy, **asked)[0] - noisy).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - began)
    print(json.dumps([min(seconds[1:]), peak_bytes()]))


def measure(interval: int) -> tuple[float, int]:
    """CPU seconds a step and bytes."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "benchmarks.checkpointing", "--case", str(interval)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


@click.command(help=__doc__)
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), help="PNG to draw.")
@click.option("--case", type=int, hidden=True)
def main(chart: Path | None, case: int | None) -> None:
    """Print the table, draw the chart."""
    if case is not None:
        run_case(case)
        return
    from sanaflow.training.memory import estimate

    found = {interval: [measure(interval) for _ in range(ROUNDS)] for interval in INTERVALS}
    seconds = {interval: sorted(one[0] for one in many)[ROUNDS // 2] for interval, many in found.items()}
    peak = {interval: max(one[1] for one in many) for interval, many in found.items()}
    real = {
        interval: estimate(SANA_1600M, chosen(interval), latent_size=(32, 32), text_tokens=300).total
        for interval in INTERVALS
    }
    print("interval   CPU s a step   times 0   peak MiB   Sana 1.6B, 1024 px, batch 4, fp32: GiB")
    for i in INTERVALS:
        times, mib = seconds[i] / seconds[0], peak[i] / 2**20
        print(f"{i:8}   {seconds[i]:12.2f}   {times:7.2f}   {mib:8.0f}   {real[i] / GIB:8.1f}")
    if chart:
        draw(seconds, peak, chart)


def draw(seconds: dict[int, float], peak: dict[int, int], chart: Path) -> None:
    """Bars of time, a line of memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    time_axes = figure.subplots()
    memory_axes = time_axes.twinx()
    places = range(len(INTERVALS))
    time_axes.bar(places, [seconds[i] / seconds[0] for i in INTERVALS], color="#9db8d9", width=0.6)
    memory_axes.plot(places, [peak[i] / peak[0] for i in INTERVALS], "o-", color="#b3261e")
    time_axes.set_xticks(list(places), ["off", *map(str, INTERVALS[1:])])
    time_axes.set(xlabel="gradient_checkpointing_interval", ylabel="time of a step (bars), off = 1", ylim=(0, 1.5))
    memory_axes.set(ylabel="peak memory (line), off = 1", ylim=(0, 1.1))
    figure.savefig(chart, dpi=110)


if __name__ == "__main__":
    main()
