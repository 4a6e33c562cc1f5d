"""The YAML of a run, with a comment wherever a value was chosen for a reason."""

import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

from pipelines.configuring.fitting import BATCH, GIB
from pipelines.configuring.lines import as_yaml, lines_of
from pipelines.configuring.questions import Choices
from pipelines.configuring.shapes import shapes_short_of
from sanaflow.paths import expanded

SMALL_CARD_GIB = 12
LARGE_PICTURES = 2048


def run_text(choices: Choices, output: Path) -> str:
    """The whole file."""
    run = shlex.quote(str(output))
    about = choices.found.told().removeprefix("found ")
    lines = [f"# {line}" for line in textwrap.wrap(f"Written by `python -m sanaflow configure` for {about}.", 116)]
    lines += [f"# python -m sanaflow check {run} --memory {choices.memory_gib:g}"]
    lines += [f"# zenml pipeline run pipelines.prepare.prepare -c {run}     # look before a GPU is rented for training"]
    pipeline = "retrain.retrain" if choices.cron else "finetune.finetune"
    lines += [f"# zenml pipeline run pipelines.{pipeline} -c {run}"]
    if choices.cron:
        lines += [f"# {schedule_command(choices.cron, output)}", "model:"]
        lines += [f"  name: {as_yaml(_name(output))} # each trained model is a version of it"]
    lines += ["parameters:", "  model:"]
    lines += lines_of({"pretrained_model_name_or_path": (choices.base.name, f"made for {choices.base.edge} px")}, 4)
    lines += ["  datasets:"]
    entry = list(lines_of(_entry(choices), 6))
    lines += [f"    - {entry[0].lstrip()}", *entry[1:]]
    for section, keys in _sections(choices, output).items():
        if keys:
            lines += [f"  {section}:", *lines_of(keys, 4)]
    return "\n".join(lines) + "\n"


def schedule_command(cron: str, output: Path) -> str:
    """What runs it again and again."""
    named = "" if _name(output) == output.stem else f" --name {_name(output)}"
    return f'python -m sanaflow schedule {shlex.quote(str(output))} --cron "{cron}"{named}'


def _name(output: Path) -> str:
    """The file's, in letters that schedules and folders can be named by."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", output.stem).strip("-._") or "my"


def _entry(choices: Choices) -> dict[str, tuple[Any, str]]:
    entry: dict[str, tuple[Any, str]] = {"id": ("mine", "")}
    entry |= {key: (value, "") for key, value in choices.found.entry.items()}
    entry["caption_strategy"] = (choices.captions.strategy, choices.captions.why)
    entry |= {key: (value, "") for key, value in choices.captions.keys.items()}
    if choices.instance_prompt:
        entry["caption_strategy"] = (choices.captions.strategy, "")
        entry["instance_prompt"] = (choices.instance_prompt, "")
    return entry | {"resolution": (choices.resolution, "")}


def _sections(choices: Choices, output: Path) -> dict[str, dict[str, tuple[Any, str]]]:
    every = max(10, choices.steps // 100 * 10)
    caches: dict[str, tuple[Any, str]] = {}
    if choices.memory_gib <= SMALL_CARD_GIB:
        caches["vae_dtype"] = ("bf16", "half the autoencoder's memory")
        caches["text_encoder_precision"] = ("nf4-bnb", "Gemma in 4 bits, for a small card")
    if choices.resolution >= LARGE_PICTURES:
        caches["vae_enable_tiling"] = (True, "large pictures in overlapping tiles: latents differ a little")
    names = [f"prompt_{number}" for number in range(1, len(choices.prompts) + 1)]
    publishing: dict[str, tuple[Any, str]] = {}
    release = f"release-{_name(output)}"
    if not _is_inside(Path(release), choices):
        publishing["release_dir"] = (release, "the model with its card")
    if choices.hub_model_id:
        publishing["hub_model_id"] = (choices.hub_model_id, "pushed with the token of HF_TOKEN or `hf auth login`")
        publishing["hub_private"] = (True, "")
    return {
        "caches": caches,
        "training": _training(choices) | {"checkpointing_steps": (every, "")},
        "validation": {
            "user_prompt_library": (dict(zip(names, choices.prompts, strict=True)), ""),
            "validation_steps": (every, "pictures are drawn ten times on the way"),
        },
        "publishing": publishing,
    }


def _training(choices: Choices) -> dict[str, tuple[Any, str]]:
    settings = choices.fit.settings
    card = f"a step takes {choices.fit.taken / GIB:.1f} of {choices.memory_gib:g} GiB by `python -m sanaflow fit`"
    why = {
        "train_batch_size": card,
        "gradient_accumulation_steps": f"{BATCH} pictures a step, in as many goes as the card needs",
        "gradient_checkpointing": "activations are computed again: slower, and it fits",
        "optimizer": "takes less memory than AdamW in fp32, and it fits",
        "base_model_default_dtype": "of the weights: half the memory of fp32",
        "base_model_precision": "the frozen weights in 4 bits: it fits only so",
    }
    given = settings.model_dump(exclude_defaults=True)
    keys = ["model_type", *(("lora_type",) if settings.model_type == "lora" else ()), "train_batch_size"]
    keys += [key for key in why if key in given and key not in keys]
    lines: dict[str, tuple[Any, str]] = {key: (getattr(settings, key), why.get(key, "")) for key in keys}
    if short := shapes_short_of(BATCH, choices):
        lines["allow_dataset_oversubscription"] = (True, short)
    seen = choices.found.pictures
    shown = f"each picture about {max(1, round(choices.steps * BATCH / seen))} times" if seen else ""
    lines["max_train_steps"] = (choices.steps, shown)
    lines["learning_rate"] = (settings.learning_rate, "")
    lines["lr_scheduler"] = ("constant_with_warmup", "")
    return lines | {"lr_warmup_steps": (min(100, choices.steps // 10), "")}


def _is_inside(folder: Path, choices: Choices) -> bool:
    pictures = choices.found.entry.get("instance_data_dir")
    return bool(pictures) and folder.resolve().is_relative_to(expanded(str(pictures)).resolve())
