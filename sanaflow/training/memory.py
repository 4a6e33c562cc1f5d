"""How much memory a run will take, worked out before anything runs.

Forward and backward are run on tensors that have shapes and no memory (PyTorch's fake tensors), while what would be
alive is counted. Nothing is downloaded but the model's config.json, and no GPU is needed. PyTorch's own tracker
(`MemTracker`) would do, if it could count frozen weights.
"""

import json
import weakref
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from diffusers import SanaTransformer2DModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import Linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sanaflow.config import TrainingSettings
from sanaflow.model.attention import keep_linear_attention_fp32
from sanaflow.model.checkpointing import recompute_blocks
from sanaflow.model.loading import DTYPES
from sanaflow.model.lycoris import attach_lycoris
from sanaflow.model.peft import attach_lora
from sanaflow.training.flow import flow_losses
from sanaflow.training.optimizers import make_optimizer

SAMPLE_EDGE = 1024
"""Of the matrix that an optimizer is tried on."""
BYTES_PER_WEIGHT = {"int8-bnb": 1 + 4 / 1024, "nf4-bnb": 0.5 + 1 / 64}
"""With the scales: one in fp32 a row, or one in 8 bits for 64 weights."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device.

    Attributes:
        weights: All of them, frozen or not.
        gradients: Of what is trained, and a second copy where several processes exchange them.
        optimizer: Its state.
        ema: The moving average, if it is on the device.
        activations: What is alive besides the weights at the worst moment of forward and backward, gradients too.
        total: At the worst moment, with the optimizer's state and the moving average.
    """

    weights: int
    gradients: int
    optimizer: int
    ema: int
    activations: int
    total: int


def estimate(
    config: dict[str, Any], settings: TrainingSettings, *, latent_size: tuple[int, int], text_tokens: int
) -> MemoryEstimate:
    """What one step takes, without what CUDA and the allocator take for themselves (about 1 GiB).

    Args:
        config: The transformer's config.json.
        settings: How it is trained.
        latent_size: Height and width of the largest sample's latents.
        text_tokens: Of the longest caption.

    Raises:
        InputError: An adapter that doesn't fit.
    """
    seen = settings.model_copy(update={"optimizer": "torch-adamw", "use_ema": False})  # the pass doesn't see these
    alive = _pass(json.dumps([config, seen.model_dump(mode="json"), latent_size, text_tokens]))
    trained_bytes = alive.trained * alive.trained_itemsize
    weights, gradients = alive.weights, trained_bytes
    optimizer = int(alive.trained * _state_bytes(settings, alive.trained_itemsize))
    ema = 4 * alive.trained if settings.use_ema and settings.ema_device == "accelerator" else 0
    if settings.base_model_precision != "no_change":
        weights -= int(alive.block_linears * (alive.base_itemsize - BYTES_PER_WEIGHT[settings.base_model_precision]))
    peak = alive.peak - alive.weights + weights
    if settings.num_processes > 1:
        if settings.fsdp_enable:
            split = 1 - 1 / settings.num_processes
            peak -= int(split * weights)
            weights, gradients, optimizer, ema = (
                value // settings.num_processes for value in (weights, gradients, optimizer, ema)
            )
        else:
            gradients += trained_bytes
            peak += trained_bytes
    at_step = weights + gradients
    return MemoryEstimate(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        ema=ema,
        activations=alive.peak - alive.weights,
        total=max(peak, at_step) + optimizer + ema,
    )


@dataclass(frozen=True)
class _Alive:
    weights: int
    trained: int
    trained_itemsize: int
    base_itemsize: int
    block_linears: int
    peak: int


@cache
def _pass(asked: str) -> _Alive:
    """One forward and backward on fake tensors; what `estimate` is given, as JSON."""
    config, chosen, latent_size, text_tokens = json.loads(asked)
    settings = TrainingSettings.model_construct(**chosen)
    shape = {k: v for k, v in config.items() if not k.startswith("_")} | (settings.transformer_config or {})
    # A quantised layer keeps for the backward what one in bf16 keeps; its weights are counted by the caller.
    base = settings.model_copy(update={"base_model_precision": "no_change"})
    dtype = DTYPES[settings.base_model_default_dtype]
    # Modules of fake tensors can't be moved, which PEFT does to what it adds though it is there already.
    with FakeTensorMode(), patch.object(torch.nn.Module, "to", lambda module, *_, **__: module):
        torch.set_default_dtype(dtype)
        transformer = SanaTransformer2DModel.from_config(shape)
        torch.set_default_dtype(torch.float32)
        keep_linear_attention_fp32(transformer)
        linears = sum(
            module.weight.numel()
            for block in transformer.transformer_blocks
            for module in block.modules()
            if type(module) is Linear
        )
        if settings.model_type == "lora":
            if settings.lora_type == "standard":
                attach_lora(transformer, base)
            else:
                attach_lycoris(transformer, base)
        if settings.gradient_checkpointing:
            recompute_blocks(transformer, every=settings.gradient_checkpointing_interval or 1)
        tensors = _inputs(shape, settings, latent_size, text_tokens)
        live = _Live()
        for tensor in (*transformer.train().parameters(), *transformer.buffers()):
            live.count(tensor)
        with live:
            bf16 = settings.mixed_precision != "no"
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                predicted = transformer(**tensors, return_dict=False)[0]
                loss = flow_losses(predicted, tensors["hidden_states"]).mean()
            loss.backward()
    parameters = list(transformer.parameters())
    trained = [p for p in parameters if p.requires_grad]
    return _Alive(
        weights=sum(p.numel() * p.element_size() for p in parameters),
        trained=sum(p.numel() for p in trained),
        trained_itemsize=trained[0].element_size(),
        base_itemsize=dtype.itemsize,
        block_linears=linears,
        peak=live.peak,
    )


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors that come from an operation, as long as somebody holds them."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, weakref.ref] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **kwargs or {})
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.count(value)
        return result

    def count(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage once; views share one."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._alive and self._alive[key]() is storage:
            return

        def gone(_: weakref.ref) -> None:
            self._alive.pop(key, None)
            self.now -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def _inputs(
    shape: dict[str, Any], settings: TrainingSettings, latent_size: tuple[int, int], text_tokens: int
) -> dict[str, torch.Tensor]:
    batch = settings.train_batch_size
    return {
        "hidden_states": torch.empty(batch, shape["in_channels"], *latent_size),
        "encoder_hidden_states": torch.empty(batch, text_tokens, shape["caption_channels"]),
        "encoder_attention_mask": torch.ones(batch, text_tokens, dtype=torch.long),
        "timestep": torch.empty(batch),
    }


def _state_bytes(settings: TrainingSettings, itemsize: int) -> float:
    """Bytes of an optimizer's state for each weight, seen by letting it take two steps on one matrix."""
    dtype = torch.float32 if itemsize == 4 else torch.bfloat16
    weight = torch.nn.Parameter(torch.zeros(SAMPLE_EDGE, SAMPLE_EDGE, dtype=dtype))
    optimizer = make_optimizer([weight], settings)
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    return sum(map(_size, optimizer.state[weight].values())) / weight.numel()


def _size(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def changed(settings: TrainingSettings, **changes: Any) -> TrainingSettings:
    """The settings with some others, checked."""
    return TrainingSettings.model_validate(settings.model_dump() | changes)
