"""Optimizers by SimpleTuner's names, each from a maintained library.

`adam_*` settings that are null leave the library's own default.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError

CLASSES = {
    "torch-adamw": "torch.optim:AdamW",
    "torch-adam": "torch.optim:Adam",
    "torch-sgd": "torch.optim:SGD",
    "optimi-adamw": "optimi:AdamW",
    "optimi-adam": "optimi:Adam",
    "optimi-lion": "optimi:Lion",
    "optimi-stableadamw": "optimi:StableAdamW",
    "optimi-radam": "optimi:RAdam",
    "optimi-ranger": "optimi:Ranger",
    "optimi-adan": "optimi:Adan",
    "optimi-sgd": "optimi:SGD",
    "bnb-adagrad": "bitsandbytes.optim:Adagrad",
    "bnb-adagrad8bit": "bitsandbytes.optim:Adagrad8bit",
    "bnb-adam": "bitsandbytes.optim:Adam",
    "bnb-adam8bit": "bitsandbytes.optim:Adam8bit",
    "bnb-adamw": "bitsandbytes.optim:AdamW",
    "bnb-adamw8bit": "bitsandbytes.optim:AdamW8bit",
    "bnb-adamw-paged": "bitsandbytes.optim:PagedAdamW",
    "bnb-adamw8bit-paged": "bitsandbytes.optim:PagedAdamW8bit",
    "bnb-lion": "bitsandbytes.optim:Lion",
    "bnb-lion8bit": "bitsandbytes.optim:Lion8bit",
    "bnb-lion-paged": "bitsandbytes.optim:PagedLion",
    "bnb-lion8bit-paged": "bitsandbytes.optim:PagedLion8bit",
    "bnb-ademamix": "bitsandbytes.optim:AdEMAMix",
    "bnb-ademamix8bit": "bitsandbytes.optim:AdEMAMix8bit",
    "bnb-ademamix-paged": "bitsandbytes.optim:PagedAdEMAMix",
    "bnb-ademamix8bit-paged": "bitsandbytes.optim:PagedAdEMAMix8bit",
    "adamw_schedulefree": "pytorch_optimizer:ScheduleFreeAdamW",
    "prodigy": "pytorch_optimizer:Prodigy",
    "came": "pytorch_optimizer:CAME",
    "adafactor": "pytorch_optimizer:AdaFactor",
    "soap": "pytorch_optimizer:SOAP",
    "muon": "pytorch_optimizer:Muon",
}
"""Where each is."""
ALWAYS: Mapping[str, dict[str, Any]] = {
    **{name: {"fused": True} for name in ("torch-adamw", "torch-adam")},
    "torch-sgd": {
        "momentum": 0.9
    },  # not fused: if its very first update is left out, its momentum is what lay in memory
    "adafactor": {"relative_step": False, "scale_parameter": False},  # or `learning_rate` would say nothing
}


def make_optimizer(parameters: list[torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer that the settings name.

    Raises:
        InputError: It doesn't know a setting, or doesn't run on this machine.
    """
    module, name = CLASSES[settings.optimizer].split(":")
    kind = getattr(importlib.import_module(module), name)
    known = inspect.signature(kind.__init__).parameters
    options = dict(ALWAYS.get(settings.optimizer, {})) | _adam_options(known, settings)
    if module == "optimi" and parameters[0].device.type == "cpu":
        options["triton"] = False  # it would look for a GPU
    for key, value in settings.optimizer_config.items():
        others = sorted(set(known) - {"self", "params", "lr", "kwargs", "gradient_release", "differentiable"})
        if key not in others:
            raise InputError(
                f"training.optimizer_config: '{settings.optimizer}' has no '{key}'; it has {', '.join(others)}"
            )
        options[key] = tuple(value) if isinstance(value, list) else value
    groups: Any = parameters
    if settings.optimizer == "muon":  # orthogonalised updates are for matrices
        matrices = [p for p in parameters if p.ndim >= 2]
        rest = [p for p in parameters if p.ndim < 2]
        groups = [{"params": matrices, "use_muon": True}, {"params": rest, "use_muon": False}]
        groups = [group for group in groups if group["params"]]
        options.setdefault("adamw_lr", settings.learning_rate)
    try:
        return kind(groups, lr=settings.learning_rate, **options)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"training.optimizer '{settings.optimizer}' doesn't take these settings: {error}") from None


@contextmanager
def averaged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let the weights be those to use: a schedule-free optimizer trains at others than it averages to."""
    if not hasattr(optimizer, "train"):
        yield
        return
    optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        optimizer.train()


def _adam_options(known: Mapping[str, inspect.Parameter], settings: TrainingSettings) -> dict[str, Any]:
    """betas, eps and weight_decay where they are set."""
    options: dict[str, Any] = {}
    if settings.adam_beta1 is not None or settings.adam_beta2 is not None:
        name = _known(known, settings, "adam_beta1", "betas", "adamw_betas")
        first, second, *rest = known[name].default
        given = settings.adam_beta1, settings.adam_beta2
        options[name] = (first if given[0] is None else given[0], second if given[1] is None else given[1], *rest)
    if settings.adam_epsilon is not None:
        options[_known(known, settings, "adam_epsilon", "eps", "adamw_eps")] = settings.adam_epsilon
    if settings.adam_weight_decay is not None:
        options[_known(known, settings, "adam_weight_decay", "weight_decay")] = settings.adam_weight_decay
    return options


def _known(known: Mapping[str, Any], settings: TrainingSettings, key: str, *names: str) -> str:
    for name in names:
        if name in known:
            return name
    raise InputError(f"training.{key}: optimizer '{settings.optimizer}' has no such setting: remove it")
