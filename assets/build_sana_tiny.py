"""Build `assets/sana-tiny/`: a Sana pipeline of the real classes with seeded random weights, small enough for tests.

    python assets/build_sana_tiny.py [FOLDER]

The layout is the hub's (tokenizer, text_encoder, transformer, vae, scheduler, model_index.json); only the widths
shrink.
It draws 64 px pictures from 8 x 8 latents of 16 channels. Its tokenizer knows the instruction and the bundled captions.
"""

import inspect
import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

HERE = Path(__file__).resolve().parent
INSTRUCTION = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
SPECIAL_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]  # Gemma's, with Gemma's ids


def train_tokenizer(texts: list[str], vocab_size: int) -> GemmaTokenizer:
    """A byte-fallback BPE as Gemma's: '▁' for a space, right padding, a BOS before every text."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS + byte_tokens)
    )
    trained = json.loads(bpe.to_str())["model"]
    tokenizer = GemmaTokenizer(
        vocab=trained["vocab"], merges=[tuple(m) for m in trained["merges"]], padding_side="right"
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    return tokenizer


def build() -> SanaPipeline:
    """The pipeline with random weights; the autoencoder's latents are scaled to unit variance on the bundled
    pictures."""
    torch.manual_seed(0)
    pictures = sorted((HERE / "pictures").glob("*.webp"))
    tokenizer = train_tokenizer([*INSTRUCTION, *(p.stem for p in pictures)] * 4, vocab_size=900)
    text_encoder = Gemma2Model(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            query_pre_attn_scalar=16,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    transformer = SanaTransformer2DModel(
        in_channels=16,
        out_channels=16,
        patch_size=1,
        sample_size=8,
        num_layers=4,
        num_attention_heads=4,
        attention_head_dim=32,
        num_cross_attention_heads=2,
        cross_attention_head_dim=64,
        cross_attention_dim=128,
        caption_channels=64,
        mlp_ratio=2.5,
    )
    with torch.no_grad():
        transformer.caption_norm.weight.fill_(0.01)  # Sana's y_norm_scale_factor; diffusers starts at 1
        torch.nn.init.zeros_(transformer.proj_out.weight)
    vae = AutoencoderDC(
        latent_channels=16,
        attention_head_dim=8,
        encoder_block_types=("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(16, 32, 64, 64),
        decoder_block_out_channels=(16, 32, 64, 64),
        encoder_layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        encoder_qkv_multiscales=((), (), (), (5,)),
        decoder_qkv_multiscales=((), (), (), (5,)),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    )
    pixels = VaeImageProcessor(vae_scale_factor=8).preprocess(
        [Image.open(p).convert("RGBA").convert("RGB").resize((64, 64)) for p in pictures]
    )
    with torch.no_grad():
        vae.register_to_config(scaling_factor=round(1 / vae.encode(pixels).latent.square().mean().sqrt().item(), 5))
    scheduler = DPMSolverMultistepScheduler(flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction")
    return SanaPipeline(tokenizer, text_encoder, vae, transformer, scheduler)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "sana-tiny"
    pipeline = build()
    pipeline.save_pretrained(folder)
    sizes = {
        n: sum(p.numel() for p in m.parameters()) for n, m in pipeline.components.items() if hasattr(m, "parameters")
    }
    print(f"{folder}: parameters {sizes}, latent scale {pipeline.vae.config.scaling_factor}")
