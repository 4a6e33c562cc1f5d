"""A Sana pipeline of random weights, smaller and quicker than the bundled one, where nothing depends on what it draws.

64 px pictures of 8 x 8 latent tokens with 16 channels.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderDC, SanaPipeline

from benchmarks.sana_tiny.start import make_pipeline

PICTURES = Path(__file__).resolve().parent.parent / "assets" / "pictures"


def write_random_sana(folder: Path) -> Path:
    """Write the pipeline, the same at each time, in bf16."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = random_sana().to(torch.bfloat16)
    pipeline.save_pretrained(folder)
    return folder


def random_sana() -> SanaPipeline:
    """The pipeline, from torch's generator."""
    blocks = ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock")
    vae = AutoencoderDC(
        latent_channels=16,
        attention_head_dim=8,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(32, 64, 128, 128),
        decoder_block_out_channels=(32, 64, 128, 128),
        encoder_layers_per_block=(0, 1, 1, 1),
        decoder_layers_per_block=(1, 2, 2, 1),
        encoder_qkv_multiscales=((), (), (), (5,)),
        decoder_qkv_multiscales=((), (), (), (5,)),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    )
    with torch.no_grad():
        latents = vae.encode(torch.rand(4, 3, 64, 64) * 2 - 1).latent
    vae.register_to_config(scaling_factor=round(1 / latents.square().mean().sqrt().item(), 5))
    pipeline = make_pipeline(
        vae,
        sorted(path.stem for path in PICTURES.glob("*.webp")),
        vocabulary=900,
        edge=64,
        text_encoder={
            **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
            **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "query_pre_attn_scalar": 16},
        },
        transformer={
            **{"num_layers": 4, "num_attention_heads": 4, "attention_head_dim": 32, "mlp_ratio": 2.5},
            **{"num_cross_attention_heads": 2, "cross_attention_head_dim": 64, "cross_attention_dim": 128},
        },
    )
    with torch.no_grad():
        pipeline.transformer.caption_norm.weight.fill_(0.01)  # Sana's y_norm_scale_factor; diffusers starts at 1
        torch.nn.init.zeros_(pipeline.transformer.proj_out.weight)
    return pipeline
