"""A transformer as one file in the layout of Sana's own code, which nodes for ComfyUI read.

ComfyUI itself knows no Sana; ComfyUI_ExtraModels' Sana loader takes this file. diffusers reads it back by
`SanaTransformer2DModel.from_single_file`.
"""

import re
from pathlib import Path

import torch
from diffusers import SanaTransformer2DModel
from safetensors.torch import save_file

from sanaflow.errors import InputError

TOKENS = 300  # of a caption, in Sana's own code
NAMES = (
    (r"patch_embed\.proj", "x_embedder.proj"),
    (r"time_embed\.emb\.timestep_embedder\.linear_1", "t_embedder.mlp.0"),
    (r"time_embed\.emb\.timestep_embedder\.linear_2", "t_embedder.mlp.2"),
    (r"time_embed\.linear", "t_block.1"),
    (r"caption_projection\.linear_", "y_embedder.y_proj.fc"),
    (r"caption_norm", "attention_y_norm"),
    (r"^proj_out", "final_layer.linear"),
    (r"^scale_shift_table", "final_layer.scale_shift_table"),
    (r"^transformer_blocks", "blocks"),
    (r"attn1\.to_out\.0", "attn.proj"),
    (r"attn2\.to_out\.0", "cross_attn.proj"),
    (r"attn2\.to_q", "cross_attn.q_linear"),
    (r"ff\.conv_inverted", "mlp.inverted_conv.conv"),
    (r"ff\.conv_depth", "mlp.depth_conv.conv"),
    (r"ff\.conv_point", "mlp.point_conv.conv"),
)
JOINED = (("attn1", "qkv", "attn.qkv"), ("attn2", "kv", "cross_attn.kv_linear"))
"""Layers that are one in Sana's own code: of which attention, which, and its name there."""


def save_original(transformer: SanaTransformer2DModel, path: Path) -> None:
    """Write it in Sana's own names, in its precision.

    Raises:
        InputError: It has what that layout has no place for: normalised queries, embedded positions, guidance.
    """
    config = transformer.config
    for key, wanted in (("qk_norm", None), ("interpolation_scale", None), ("guidance_embeds", False)):
        if config.get(key) not in (wanted, False):
            raise InputError(
                f"publishing.release_original can't hold a model with '{key}' ({config[key]}): set it to false"
            )
    weights = {name: tensor.detach().cpu() for name, tensor in transformer.state_dict().items()}
    renamed: dict[str, torch.Tensor] = {}
    for block in range(config.num_layers):
        for attention, letters, name in JOINED:
            for part in ("weight", "bias"):
                layers = [f"transformer_blocks.{block}.{attention}.to_{letter}.{part}" for letter in letters]
                if layers[0] in weights:
                    renamed[f"blocks.{block}.{name}.{part}"] = torch.cat([weights.pop(layer) for layer in layers])
    for name, tensor in weights.items():
        for pattern, original in NAMES:
            name = re.sub(pattern, original, name)
        renamed[name] = tensor
    # Buffers of Sana's own code that neither it nor diffusers draws with; readers want to see them.
    dtype = renamed["x_embedder.proj.bias"].dtype
    renamed["y_embedder.y_embedding"] = torch.zeros(TOKENS, config.caption_channels, dtype=dtype)
    renamed["pos_embed"] = torch.zeros(1, config.sample_size**2, renamed["x_embedder.proj.bias"].shape[0], dtype=dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, path)
