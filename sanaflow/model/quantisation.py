"""Frozen weights in 8 or 4 bits by bitsandbytes, for an adapter to be trained over."""

import bitsandbytes as bnb
import torch
from diffusers import SanaTransformer2DModel
from torch import nn


def quantise(transformer: SanaTransformer2DModel, precision: str, via: str, device: torch.device) -> None:
    """Replace the linear layers of all blocks; everything else, convolutions too, stays as it is.

    diffusers' own way refuses machines without a GPU, and so can't quantise on the CPU.

    Args:
        transformer: On the CPU.
        precision: 'int8-bnb' or 'nf4-bnb'.
        via: 'cpu' quantises there, layer by layer; 'accelerator' on the device, faster.
        device: The accelerator. The transformer is moved there.
    """
    place = torch.device("cpu") if via == "cpu" else device
    for block in transformer.transformer_blocks:
        for name, module in list(block.named_modules()):
            if type(module) is nn.Linear:
                block.set_submodule(name, _quantised(module, precision).to(place))
    transformer.to(device)
    setattr(transformer, "is_loaded_in_8bit" if precision == "int8-bnb" else "is_loaded_in_4bit", True)  # PEFT asks


def _quantised(linear: nn.Linear, precision: str) -> nn.Module:
    """A layer that is quantised as soon as it is moved."""
    shape, bias, weight = (linear.in_features, linear.out_features), linear.bias is not None, linear.weight.data
    layer: nn.Module
    if precision == "int8-bnb":
        layer = bnb.nn.Linear8bitLt(*shape, bias, has_fp16_weights=False, threshold=6.0)
        layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        layer = bnb.nn.Linear4bit(*shape, bias, compute_dtype=linear.weight.dtype, quant_type="nf4")
        layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", module=layer)
        # Or a forward without gradients repacks the weights for good, and no gradient passes them from then on.
        layer.support_avx512bf16_for_cpu = False
    if bias:
        layer.bias = nn.Parameter(linear.bias.data, requires_grad=False)
    return layer
