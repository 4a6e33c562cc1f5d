"""Memory against time: blocks whose activations are computed again, and blocks that are compiled."""

from typing import Any

import torch
from diffusers import SanaTransformer2DModel
from torch.utils.checkpoint import checkpoint

MOST_SHAPES = 320


def recompute_blocks(transformer: SanaTransformer2DModel, *, every: int) -> None:
    """Compute the activations of every n-th block again in the backward rather than keep them: gradient checkpointing.

    Block i is one of them if `every` divides i, as in SimpleTuner; 1 takes all: the least memory, the slowest.
    """
    chosen = {block for i, block in enumerate(transformer.transformer_blocks) if i % every == 0}

    def run(block: torch.nn.Module, *inputs: Any) -> Any:
        return checkpoint(block, *inputs, use_reentrant=False) if block in chosen else block(*inputs)

    transformer.enable_gradient_checkpointing(run)


def compile_blocks(transformer: SanaTransformer2DModel) -> None:
    """Compile each block by itself: as fast as the whole, a tenth of the time to compile.

    diffusers' `compile_repeated_blocks` can't: Sana's class names no blocks. Each shape gets code of its own, as code
    for any shape is refused by the compiler (PyTorch 2.14, on CPUs): `MOST_SHAPES` for 40 buckets and 7 text lengths.
    """
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    for block in transformer.transformer_blocks:
        block.compile(dynamic=False)
