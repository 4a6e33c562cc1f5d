"""Tensors to the device that trains, without waiting for what it is working on."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy there; from pinned memory, as only from there a GPU copies by itself."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
