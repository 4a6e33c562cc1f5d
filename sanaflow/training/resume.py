"""Which run a checkpoint is of, and what may change on the way from one run to another."""

import shutil
from pathlib import Path
from typing import Any

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.reference import ModelReference
from sanaflow.paths import expanded
from sanaflow.training.checkpoints import Checkpoints, newest_first, read_checkpoint

FIXED = (
    *("model_type", "lora_type", "lycoris_config", "lora_rank", "lora_alpha", "lora_dropout", "use_dora"),
    "lora_target_modules",
    *("from_scratch", "transformer_config", "base_model_precision", "base_model_default_dtype"),
    *("optimizer", "use_ema"),
)
"""What a checkpoint's tensors are the shape of."""
NUMBERING = ("train_batch_size", "gradient_accumulation_steps", "num_processes", "seed")
"""What decides which samples a step sees: a change begins another order at this step."""
UNSEEN = ("resume_from_checkpoint", "checkpointing_steps", "checkpoints_total_limit")


def identity_of(
    latents: LatentCache, captions: CaptionCache, model: ModelReference, settings: TrainingSettings
) -> dict[str, Any]:
    """What a run is, as its checkpoints say it."""
    return {
        **{"latents": latents.digest(), "captions": captions.digest(), "model": model.digest("transformer")},
        "settings": settings.model_dump(mode="json"),
    }


def begin_from(checkpoints: Checkpoints, wanted: str | None, identity: dict[str, Any], run_folder: Path) -> None:
    """Copy the checkpoint that `resume_from_checkpoint` names here, unless this run has its own already.

    Args:
        checkpoints: This run's.
        wanted: A checkpoint's folder, or 'latest': the newest of any run beside this one that fits.
        identity: This run's.
        run_folder: This run's.

    Raises:
        InputError: There is none, it is damaged, or it doesn't fit; the text says each key that differs.
    """
    if wanted is None or checkpoints.any():
        return
    if wanted == "latest":
        source = _latest(identity, run_folder)
    else:
        source = expanded(wanted)
        if not (source / "state.json").is_file():
            raise InputError(
                f"training.resume_from_checkpoint '{wanted}' is not a checkpoint: name its folder, which holds a "
                "state.json, or 'latest'"
            )
    state = read_checkpoint(source)[1]
    before = state["identity"]
    refused, told = differences(before, identity)
    if refused:
        raise InputError(
            f"training.resume_from_checkpoint: '{source}' can't go on with other settings: {'; '.join(refused)}. "
            "Set them as they were, or start anew without it"
        )
    print("\n".join([f"going on from {source}", *(f"  {line}" for line in told)]))
    target = checkpoints.folder / f"step-{state['step']:08d}"
    hidden = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        shutil.copytree(source, hidden)
        hidden.rename(target)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise InputError(f"'{source}' can't be copied to '{checkpoints.folder}' ({error}): free some space") from None


def same_settings(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a checkpoint is of a run with these very settings."""
    both = [{k: v for k, v in one.get("settings", {}).items() if k not in UNSEEN} for one in (before, now)]
    return both[0] == both[1]


def differences(before: dict[str, Any], now: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What differs between two identities, key by key: what can't be gone on with, and what changes from here on."""
    refused, told = [], []
    if before["model"] != now["model"]:
        refused.append("the base model's transformer is another one")
    for data in ("latents", "captions"):
        if before[data] != now[data]:
            told.append(f"the {data} are other ones: samples come in another order from here on")
    for key in sorted(before["settings"].keys() | now["settings"].keys()):
        was, becomes = before["settings"].get(key), now["settings"].get(key)
        if was == becomes or key in UNSEEN:
            continue
        change = f"{key} was {was!r} and is {becomes!r}"
        if key in FIXED:
            refused.append(change)
        else:
            told.append(f"{change}: {'samples come in another order' if key in NUMBERING else 'it holds'} from here on")
    return refused, told


def _latest(identity: dict[str, Any], run_folder: Path) -> Path:
    candidates = [found for run in run_folder.parent.iterdir() for found in newest_first(run / "checkpoints")[:1]]
    reasons = []
    for source in sorted(candidates, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            refused, _ = differences(read_checkpoint(source)[1]["identity"], identity)
        except InputError as error:
            refused = [error.message]
        if not refused:
            return source
        reasons.append(f"'{source}': {refused[0]}")
    raise InputError(
        "training.resume_from_checkpoint is 'latest', but no run here has a checkpoint to go on from"
        + (f"; the newest, {reasons[0]}" if reasons else "")
    )
