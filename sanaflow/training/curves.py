"""Pictures of a training log."""

from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from sanaflow.config import TrainingSettings
from sanaflow.training.flow import draw_sigmas, shift_of
from sanaflow.training.log import SIGMA_BINS

GUIDES_SHIFTS = (0.1, 4.0)
"""What SimpleTuner's guide shows: far towards details, and towards composition."""
QUANTILES = 20_000


def draw_curves(steps: pd.DataFrame) -> Figure:
    """Loss, loss by noise level, gradient norm, learning rate, speed and memory over `TrainingLog.steps`."""
    by_step = steps.set_index("step")
    window = max(1, len(by_step) // 20)
    figure = Figure(figsize=(15, 6), layout="constrained")
    loss, by_sigma, norm, rate, speed, memory = figure.subplots(2, 3).flat
    loss.plot(by_step["loss"], alpha=0.35)
    loss.plot(by_step["loss"].rolling(window, min_periods=1).mean(), label=f"mean of {window}")
    loss.legend()
    for i in range(SIGMA_BINS):
        smooth = by_step[f"loss_sigma_{i}"].rolling(window, min_periods=1).mean()
        by_sigma.plot(smooth, label=f"sigma {i / SIGMA_BINS:.2f} to {(i + 1) / SIGMA_BINS:.2f}")
    by_sigma.legend(fontsize="small")
    norm.plot(by_step["grad_norm"])
    rate.plot(by_step["learning_rate"])
    speed.plot(by_step["seconds_per_step"])
    speed.set_ylim(bottom=0)
    memory.plot(by_step["peak_memory_bytes"] / 2**30)
    memory.set_ylim(bottom=0)
    titles = ("loss", "loss by noise level", "gradient norm before clipping", "learning rate", "seconds a step")
    for axes, title in zip(figure.axes, (*titles, "peak memory, GiB"), strict=True):
        axes.set(title=title, xlabel="step")
    return figure


def draw_evaluations(evaluations: pd.DataFrame) -> Figure:
    """`TrainingLog.evaluations`: left the mean over the steps, right by noise level at the beginning and the end."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    over_time, by_sigma = figure.subplots(1, 2)
    for (dataset, weights), rows in evaluations.groupby(["dataset", "weights"]):
        over_time.plot(rows.groupby("step")["loss"].mean(), marker="o", markersize=3, label=f"{dataset}, {weights}")
        for step in sorted({rows["step"].min(), rows["step"].max()}):
            at = rows[rows["step"] == step].set_index("sigma")["loss"]
            by_sigma.plot(at, marker="o", markersize=3, label=f"{dataset}, {weights}, step {step:,}")
    over_time.set(title="loss on eval sets", xlabel="step")
    by_sigma.set(title="... by noise level", xlabel="sigma")
    over_time.legend(fontsize="small")
    by_sigma.legend(fontsize="small")
    return figure


def draw_sigma_density(flow: dict[str, Any]) -> Figure:
    """How often each noise level is trained at: this run's, and the shifts that the guide shows beside it."""
    settings = TrainingSettings(**{name: value for name, value in flow.items() if name != "tokens"})
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    quantiles = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
    sizes = flow["tokens"] if settings.flow_schedule_auto_shift else flow["tokens"][:1]
    for tokens in sizes:
        label = f"this run: shift {shift_of(tokens, settings):.3g}"
        label += f" at {tokens:,} tokens" if settings.flow_schedule_auto_shift else ""
        axes.plot(*_density(draw_sigmas(quantiles, tokens=tokens, settings=settings)), linewidth=2.5, label=label)
    for shift in GUIDES_SHIFTS:
        guide = settings.model_copy(update={"flow_schedule_shift": shift, "flow_schedule_auto_shift": False})
        axes.plot(*_density(draw_sigmas(quantiles, tokens=1, settings=guide)), "--", label=f"shift {shift:g}")
    axes.set(
        title="noise levels trained at", xlabel="sigma: 0 is the picture, 1 is noise", ylabel="density", ylim=(0, 8)
    )
    axes.legend()
    return figure


def _density(sigmas: torch.Tensor, bins: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    counts = torch.histc(sigmas, bins=bins, min=0, max=1)
    return (torch.arange(bins) + 0.5) / bins, counts * bins / len(sigmas)
