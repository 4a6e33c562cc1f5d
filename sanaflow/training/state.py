"""All that a run is made of besides its settings, as tensors and plain data and back.

Random numbers need no saving: they are functions of the step. Sharded tensors (FSDP2) are gathered and split again,
so that a checkpoint doesn't depend on the number of processes.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch.distributed.tensor import DTensor, distribute_tensor

from sanaflow.training.checkpoints import Tensors


@dataclass
class TrainingState:
    """What changes while training.

    Attributes:
        weights: What is trained, by name.
        optimizer: Over `weights`, in their order.
        scheduler: Of the learning rate.
        ema: Moving average of `weights`, or None.
        scaler: Of gradients in fp16, or None.
        step: Optimizer steps done.
        rollbacks: How often the run was led back to a checkpoint; part of the noise's seed.
        log: One row a step.
        evaluations: Rows of the evaluation loss.
        skipped: One row an update that was left out.
    """

    weights: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    ema: EMAModel | None = None
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    rollbacks: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def whole_weights(self) -> dict[str, torch.Tensor]:
        """The weights on the CPU. With several processes each has to call this."""
        return {name: _whole(value) for name, value in self.weights.items()}

    def capture(self) -> tuple[Tensors, dict[str, Any]]:
        """All of it. With several processes each has to call this."""
        tensors: Tensors = {"model": self.whole_weights(), "optimizer": {}}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        plain: dict[str, Any] = {
            "rollbacks": self.rollbacks,
            "optimizer": [
                _flatten(self.optimizer.state[p], tensors["optimizer"], f"{i}") for i, p in enumerate(parameters)
            ],
            "groups": [
                _flatten({k: v for k, v in group.items() if k != "params"}, tensors["optimizer"], f"group{i}")
                for i, group in enumerate(self.optimizer.param_groups)
            ],
            "scheduler": self.scheduler.state_dict(),
            "log": self.log,
            "evaluations": self.evaluations,
            "skipped": self.skipped,
        }
        if self.ema:
            shadows = zip(self.weights, self.ema.shadow_params, strict=True)
            tensors["ema"] = {name: _whole(value) for name, value in shadows}
            plain["ema_updates"] = self.ema.optimization_step
        if self.scaler:
            plain["scaler"] = self.scaler.state_dict()
        return {name: content for name, content in tensors.items() if content}, plain

    @torch.no_grad()
    def restore(self, tensors: Tensors, plain: dict[str, Any], *, keep_rates: bool = False) -> None:
        """Take over what `capture` gave, bit by bit.

        `load_state_dict` of optimizers is not used: it casts their state to the weights' dtype.

        Args:
            tensors: As captured.
            plain: As captured.
            keep_rates: Keep this optimizer's own learning rate, betas, ..., as they are of another run than the state.

        Raises:
            KeyError: The checkpoint is of another kind of run.
        """
        for name, weight in self.weights.items():
            weight.copy_(_like(tensors["model"][name], weight))
        kept = tensors.get("optimizer", {})
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for parameter, tree in zip(parameters, plain["optimizer"], strict=True):
            if tree:
                self.optimizer.state[parameter] = self._unflatten(tree, kept, parameter)
        own = {"lr", "initial_lr", *self.optimizer.defaults} if keep_rates else set()
        for group, tree in zip(self.optimizer.param_groups, plain["groups"], strict=True):
            saved = self._unflatten(tree, kept, group["params"][0])
            group.update({name: value for name, value in saved.items() if name not in own})
        if keep_rates:
            self.scheduler.last_epoch = plain["scheduler"]["last_epoch"]
            for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_lr(), strict=True):
                group["lr"] = rate
        else:
            self.scheduler.load_state_dict(plain["scheduler"])
        if self.ema:
            for shadow, name in zip(self.ema.shadow_params, self.weights, strict=True):
                shadow.copy_(_like(tensors["ema"][name], shadow))
            self.ema.optimization_step = plain["ema_updates"]
        if self.scaler and "scaler" in plain:
            self.scaler.load_state_dict(plain["scaler"])
        self.step, self.rollbacks = plain["step"], plain["rollbacks"]
        self.log, self.evaluations, self.skipped = plain["log"], plain["evaluations"], plain["skipped"]

    def _unflatten(self, tree: dict[str, Any], tensors: dict[str, torch.Tensor], like: torch.Tensor) -> Any:
        if "tensor" in tree:
            tensor = tensors[tree["tensor"]]
            if tree["strides"]:
                tensor = torch.empty_strided(tensor.shape, tree["strides"], dtype=tensor.dtype).copy_(tensor)
            if tree["paged"] and hasattr(self.optimizer, "get_state_buffer"):
                return self.optimizer.get_state_buffer(like, dtype=tensor.dtype).copy_(tensor)
            return tensor.clone() if tree["on_cpu"] and like.device.type != "cpu" else _like(tensor, like)
        if "dict" in tree:
            return {key: self._unflatten(value, tensors, like) for key, value in tree["dict"]}
        if "list" in tree:
            return [self._unflatten(value, tensors, like) for value in tree["list"]]
        if "tuple" in tree:
            return tuple(self._unflatten(value, tensors, like) for value in tree["tuple"])
        return tree["value"]


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU."""
    tensor = tensor.detach()
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.cpu().clone().contiguous()


def _like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """On the device of `like`, and split as it is if it is split and of the same shape."""
    tensor = tensor.to(like.device)
    if isinstance(like, DTensor) and tensor.shape == like.shape:
        return distribute_tensor(tensor, like.device_mesh, like.placements)
    return tensor


def _flatten(tree: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    """Move the tensors of nested dicts and lists into `tensors`; what stays is JSON."""
    if isinstance(tree, torch.Tensor):
        tensors[path] = _whole(tree)
        # A matrix that lies in memory by columns is multiplied in another order: its strides are kept, too.
        strides = None if tree.is_contiguous() or isinstance(tree, DTensor) else list(tree.stride())
        paged = getattr(tree, "is_paged", False)  # bitsandbytes': on the GPU, in the CPU's memory when that is full
        return {"tensor": path, "on_cpu": tree.device.type == "cpu" and not paged, "strides": strides, "paged": paged}
    if isinstance(tree, dict):
        return {"dict": [[key, _flatten(value, tensors, f"{path}/{key}")] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return {kind: [_flatten(value, tensors, f"{path}/{i}") for i, value in enumerate(tree)]}
    if tree is None or isinstance(tree, bool | int | float | str):
        return {"value": tree}
    raise TypeError(f"an optimizer's state holds a {type(tree).__name__} ('{path}'), which can't be saved")
