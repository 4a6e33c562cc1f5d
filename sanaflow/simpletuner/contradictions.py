"""What a SimpleTuner run may ask for and a run here may not: resolved, and said."""

from sanaflow.paths import expanded
from sanaflow.simpletuner.conversions import UNCLIPPED
from sanaflow.simpletuner.draft import Draft
from sanaflow.simpletuner.files import BESIDE, read_json
from sanaflow.simpletuner.optimizers import WITHOUT

UNCLIPPED_THERE = ("optimi-stableadamw", "prodigy")
WHOLE_WEIGHTS = ("torch-", "optimi-", "adamw_schedulefree")
"""Beginnings of the names of optimizers that work on split weights."""


def resolve(draft: Draft) -> None:
    """Change or take out what contradicts something else in the draft."""
    _learning_rate(draft)
    _optimizer(draft)
    _adapter(draft)
    _processes(draft)
    _release(draft)


def _learning_rate(draft: Draft) -> None:
    warm_up, steps = draft.value("training.lr_warmup_steps"), draft.value("training.max_train_steps")
    scheduler = draft.value("training.lr_scheduler")
    if warm_up and "training.lr_scheduler" not in draft.lines:  # SimpleTuner's default warms up, ours doesn't
        draft.put("training.lr_scheduler", "constant_with_warmup", why="SimpleTuner's default")
    elif warm_up and scheduler == "constant":
        draft.remove("training.lr_warmup_steps", "not needed", "lr_scheduler 'constant' doesn't warm up")
        return
    if warm_up > steps and "training.num_train_epochs" not in draft.lines:
        draft.change("training.lr_warmup_steps", steps, f"{warm_up} is more than all steps")
    if scheduler == "polynomial" and draft.value("training.lr_end") >= draft.value("training.learning_rate"):
        end = draft.value("training.lr_end")
        draft.change("training.lr_end", 0.0, f"{end:g} isn't below the learning rate")


def _optimizer(draft: Draft) -> None:
    optimizer = draft.value("training.optimizer")
    for setting, without in WITHOUT.items():
        for key in [key for key in draft.lines if key.startswith(f"training.{setting}")]:
            if optimizer in without:
                draft.remove(key, "not needed", f"optimizer '{optimizer}' has no such setting")
    if optimizer in UNCLIPPED_THERE and draft.value("training.max_grad_norm") != UNCLIPPED:
        why = f"SimpleTuner doesn't clip with '{optimizer}', whatever is set"
        draft.change("training.max_grad_norm", UNCLIPPED, why)


def _adapter(draft: Draft) -> None:
    few_bits = draft.value("training.base_model_precision")
    if few_bits == "no_change" or draft.value("training.lora_type") != "lycoris":
        return
    config = draft.value("training.lycoris_config") or {}
    config = read_json(expanded(config)) if isinstance(config, str) else config
    if config.get("dora_wd") or config.get("algo", "lokr") not in BESIDE:
        why = f"{few_bits} needs an adapter that runs beside the weights: LyCORIS' {', '.join(BESIDE)}, no 'dora_wd'"
        draft.change("training.base_model_precision", "no_change", why)


def _processes(draft: Draft) -> None:
    if not draft.value("training.fsdp_enable"):
        return
    if draft.value("training.model_type") == "lora":
        draft.remove("training.fsdp_enable", "missing", "for model_type 'full': an adapter's base is copied")
        return
    if draft.value("training.use_ema") and draft.value("training.ema_device") == "cpu":
        draft.change("training.ema_device", "accelerator", "the average is split by 'fsdp_enable' already")
    optimizer = draft.value("training.optimizer")
    if not optimizer.startswith(WHOLE_WEIGHTS):
        draft.change(
            "training.optimizer", "torch-adamw", f"'{optimizer}' doesn't work on weights split by 'fsdp_enable'"
        )


def _release(draft: Draft) -> None:
    release = draft.value("publishing.release_dir")
    for entry in draft.datasets:
        folder = entry["instance_data_dir"].value if "instance_data_dir" in entry else None
        if release and folder and expanded(release).resolve().is_relative_to(expanded(str(folder)).resolve()):
            why = f"it lies among the pictures of '{folder}', and the next run would train on its samples"
            draft.remove("publishing.release_dir", "missing", why)
            return
