"""What each published Sana takes by `fit`'s count, and what its autoencoder takes to draw: a table for docs/sana.md.

python -m benchmarks.variants

Nothing is downloaded and nothing is run: shapes come from `sanaflow.model.variants`, tensors have no memory. Minutes.
"""

from typing import Any

import torch
from diffusers import AutoencoderDC
from torch._subclasses.fake_tensor import FakeTensorMode

from sanaflow.config import TrainingSettings
from sanaflow.evaluation.sampling import spare_memory
from sanaflow.model.variants import VARIANTS
from sanaflow.progress import progress_bar
from sanaflow.training.memory import _Live, estimate

GIB = 2**30
TOKENS = 300
BF16_BASE = {"model_type": "lora", "base_model_default_dtype": "bf16"}
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "full, 8-bit AdamW": {"optimizer": "bnb-adamw8bit"},
    "full, bf16 with Kahan": {"optimizer": "optimi-adamw", "base_model_default_dtype": "bf16"},
    "LoKr": {"model_type": "lora"},
    "LoRA, bf16": BF16_BASE | {"lora_type": "standard"},
    "LoRA, nf4": BF16_BASE | {"lora_type": "standard", "base_model_precision": "nf4-bnb"},
}
BATCHES = (1, 4)
STAGES = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
SCALES = ((), (), (), (5,), (5,), (5,))
DC_AE: dict[str, Any] = {
    **{"latent_channels": 32, "attention_head_dim": 32, "scaling_factor": 0.41407},
    **{"encoder_block_types": STAGES, "decoder_block_types": STAGES},
    **{"encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024), "encoder_layers_per_block": (2, 2, 2, 3, 3, 3)},
    **{"decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024), "decoder_layers_per_block": (3,) * 6},
    **{"encoder_qkv_multiscales": SCALES, "decoder_qkv_multiscales": SCALES},
    **{"downsample_block_type": "conv", "upsample_block_type": "interpolate"},
    **{"decoder_norm_types": "rms_norm", "decoder_act_fns": "silu"},
}


def training_gib(name: str, way: str, batch: int) -> float:
    """Of one step at the model's own resolution, captions of 300 tokens, every block recomputed."""
    variant = VARIANTS[name]
    settings = TrainingSettings(train_batch_size=batch, gradient_checkpointing=True, **WAYS[way])
    config = variant.config()
    size = (config["sample_size"],) * 2
    return estimate(config, settings, latent_size=size, text_tokens=TOKENS).total / GIB


def autoencoder_gib(edge: int, *, decode: bool, tiled: bool) -> float:
    """Of the real DC-AE in fp32 on one picture, its weights included."""
    with FakeTensorMode(), torch.no_grad():
        vae = AutoencoderDC(**DC_AE)
        given = torch.empty(1, 32, edge // 32, edge // 32) if decode else torch.empty(1, 3, edge, edge)
        if tiled and decode:
            spare_memory(vae, (edge, edge))
        elif tiled:
            vae.enable_tiling()
        live = _Live()
        for tensor in vae.parameters():
            live.count(tensor)
        with live:
            vae.decode(given) if decode else vae.encode(given)
    return live.peak / GIB


def main() -> None:
    """Print both tables."""
    asked = [(name, way, batch) for name in VARIANTS for way in WAYS for batch in BATCHES]
    found = {one: training_gib(*one) for one in progress_bar(asked, desc="estimating", unit="case", leave=False)}
    print("GiB of a training step, batch 1 / 4, without CUDA's own part:\n")
    print("| | " + " | ".join(WAYS) + " |\n|---|" + "---|" * len(WAYS))
    for name in VARIANTS:
        cells = [" / ".join(f"{found[name, way, batch]:.1f}" for batch in BATCHES) for way in WAYS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nGiB of the autoencoder in fp32 for one square picture:\n")
    print("| edge | encoding | in tiles of 512 px | decoding | in tiles of 2048 px |\n|---|---|---|---|---|")
    for edge in (512, 1024, 2048, 4096):
        cases = [(False, False), (False, True), (True, False), (True, True)]
        cells = [f"{autoencoder_gib(edge, decode=decode, tiled=tiled):.1f}" for decode, tiled in cases]
        print(f"| {edge} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
