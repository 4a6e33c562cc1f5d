"""Whether a run fits into a card's memory, before an hour of encoding; and if not, what would make it fit.

python -m sanaflow fit configs/finetune.yaml --memory 24
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from sanaflow.config import RunSettings
from sanaflow.progress import progress_bar
from sanaflow.run_yaml import parse_run_settings, read_yaml
from sanaflow.training_settings import TrainingSettings

GIB = 2**30
OVERHEAD = 1 * GIB
"""What CUDA, its libraries and gaps between tensors take; not seen in an estimate."""
COMMON_CARD_GIB = 24.0


@click.command(help=__doc__)
@click.argument("run_yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--memory", type=click.FloatRange(min=0, min_open=True), help="GiB of the card; the one here by default.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def fit(run_yaml: Path, memory: float | None, as_json: bool) -> None:
    """Print what training takes, and ways to take less; exit code 1 if it doesn't fit."""
    run = parse_run_settings(read_yaml(run_yaml)["parameters"], source=run_yaml)
    card = memory or memory_here() or COMMON_CARD_GIB

    from sanaflow.model.reference import resolve_model
    from sanaflow.training.memory import estimate

    model = resolve_model(run.model)
    latents, tokens = largest_latents(run, model), run.caches.tokenizer_max_length
    config = model.config("transformer")
    asked = estimate(config, run.training, latent_size=latents, text_tokens=tokens)
    fits = asked.total + OVERHEAD <= card * GIB
    others = [] if fits else list(ways_to_take_less(run.training))
    ways = [
        (estimate(config, settings, latent_size=latents, text_tokens=tokens).total + OVERHEAD, said)
        for said, settings in progress_bar(others, desc="looking for ways", leave=False)
    ]
    if as_json:
        about = {"train_batch_size": run.training.train_batch_size, "latents": latents, "text_tokens": tokens}
        found = [{"training": said, "bytes": total, "fits": total <= card * GIB} for total, said in ways]
        size = {"card_gib": card, "fits": fits, "bytes": asdict(asked), "overhead_bytes": OVERHEAD}
        print(json.dumps(about | size | {"ways": found}, indent=2))
        raise SystemExit(not fits)
    print(
        f"{run.training.train_batch_size} samples at once, latents of up to {latents[0]} x {latents[1]}, "
        f"captions of up to {tokens} tokens:"
    )
    for name in ("weights", "gradients", "optimizer", "ema", "activations"):
        print(f"  {name:<12} {getattr(asked, name) / GIB:8.2f} GiB")
    print(f"  {'at once':<12} {asked.total / GIB:8.2f} GiB, and about {OVERHEAD / GIB:.0f} that CUDA takes")
    if not (memory or memory_here()):
        print(f"there is no GPU here, and no --memory was given: {card:g} GiB is taken")
    if fits:
        print(f"it fits into {card:g} GiB")
        return
    print(f"it does not fit into {card:g} GiB. With these under `training:` it takes, CUDA's part included:")
    for total, said in ways:
        print(f"  {total / GIB:8.2f} GiB, {'fits' if total <= card * GIB else 'no  '}: {said}")
    raise SystemExit(1)


def memory_here() -> float | None:
    """GiB of this machine's first GPU, if it has one."""
    return torch.cuda.get_device_properties(0).total_memory / GIB if torch.cuda.is_available() else None


def largest_latents(run: RunSettings, model: Any) -> tuple[int, int]:
    """Height and width of a square sample of the largest `resolution`; buckets of other shapes have as many pixels."""
    from sanaflow.model.loading import pixels_per_token

    edges = []
    for dataset in [dataset for dataset in run.datasets if dataset.trained]:
        edge = dataset.resolution**0.5 * 1000 if dataset.resolution_type == "area" else dataset.resolution
        edges.append(edge / pixels_per_token(model))
    return (max(1, round(max(edges))),) * 2


def ways_to_take_less(settings: TrainingSettings) -> Iterator[tuple[str, TrainingSettings]]:
    """Settings that take less and less, with what to write; the first changes keep the result the nearest."""
    from sanaflow.training.memory import changed

    changes: dict[str, Any] = {}
    accumulated = settings.train_batch_size * settings.gradient_accumulation_steps
    full = settings.model_type == "full"
    steps: list[dict[str, Any]] = []
    if settings.use_ema and settings.ema_device == "accelerator":
        steps.append({"ema_device": "cpu"})
    if not settings.gradient_checkpointing or (settings.gradient_checkpointing_interval or 1) > 1:
        steps.append({"gradient_checkpointing": True, "gradient_checkpointing_interval": None})
    if settings.train_batch_size > 1:
        steps.append({"train_batch_size": 1, "gradient_accumulation_steps": accumulated})
    if full:
        steps.append({"optimizer": "bnb-adamw8bit"})
        steps.append({"optimizer": "optimi-adamw", "base_model_default_dtype": "bf16", "mixed_precision": "bf16"})
        steps.append({"optimizer": "torch-adamw", "base_model_default_dtype": "fp32", "model_type": "lora"})
    if settings.base_model_default_dtype == "fp32":
        steps.append({"base_model_default_dtype": "bf16", "mixed_precision": "bf16", "lora_type": "standard"})
    steps.append({"base_model_precision": "nf4-bnb"})
    plain = {} if not settings.fsdp_enable else {"fsdp_enable": False}
    for step in steps:
        changes |= step | (plain if step.get("model_type") == "lora" else {})
        if changes.get("lora_type") == "standard":
            changes["lycoris_config"] = None
        if "optimizer" in changes:
            changes["optimizer_config"] = {}
        try:
            other = changed(settings, **changes)
        except ValueError:  # it contradicts another setting of this run
            continue
        said = ", ".join(
            f"{key}: {json.dumps(value)}" for key, value in changes.items() if value != getattr(settings, key)
        )
        yield said, other
