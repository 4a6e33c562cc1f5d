"""A transformer to train from nothing."""

from typing import Any

import torch
from diffusers import SanaTransformer2DModel
from torch import nn

from sanaflow.errors import InputError, nearest
from sanaflow.model.attention import keep_linear_attention_fp32
from sanaflow.model.reference import ModelReference

CAPTION_NORM = 0.01
"""What Sana's caption norm begins at (`y_norm_scale_factor`), so that text comes in slowly; diffusers' begins at 1."""


def random_transformer(model: ModelReference, changes: dict[str, Any]) -> SanaTransformer2DModel:
    """A transformer of the model's shape, or with `changes` to its config.json, in fp32, from torch's generator.

    As DiT and PixArt begin: linear layers by Xavier, those of time and caption from a normal distribution of 0.02, and
    the last layer at zero.

    Raises:
        InputError: A change that isn't the config's, or that doesn't fit.
    """
    config = model.config("transformer")
    for key in changes:
        if key not in config or key.startswith("_"):
            known = nearest(key, [name for name in config if not name.startswith("_")])
            raise InputError(f"training.transformer_config: a Sana transformer has no '{key}': {known}")
    for key in ("in_channels", "out_channels", "caption_channels", "patch_size"):
        if changes.get(key, config[key]) != config[key]:
            raise InputError(f"training.transformer_config: '{key}' is the autoencoder's and text encoder's: remove it")
    try:
        with torch.device("meta"):
            _try_once(SanaTransformer2DModel.from_config(config | changes))
        transformer = SanaTransformer2DModel.from_config(config | changes)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"training.transformer_config doesn't fit: {error}") from None
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            if name.startswith(("time_embed.", "caption_projection.")):
                nn.init.normal_(module.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    patches = transformer.patch_embed.proj
    nn.init.xavier_uniform_(patches.weight.view(len(patches.weight), -1))
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.constant_(transformer.caption_norm.weight, CAPTION_NORM)
    keep_linear_attention_fp32(transformer)
    return transformer


def _try_once(transformer: SanaTransformer2DModel) -> None:
    """A forward without memory: heads and widths that don't fit together show there only."""
    config = transformer.config
    texts = torch.empty(1, 2, config.caption_channels)
    noisy = torch.empty(1, config.in_channels, 4, 4)
    transformer(noisy, encoder_hidden_states=texts, timestep=torch.empty(1), return_dict=False)
