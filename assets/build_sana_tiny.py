"""Build `assets/sana-tiny/`: a Sana pipeline of the real classes, small enough for tests and laptops.

    python assets/build_sana_tiny.py [FOLDER] [--autoencoder-steps N]

The autoencoder is trained on the bundled pictures for some minutes, so that latents decode to something to look at; the
text encoder and the transformer have seeded random weights, so that fine-tuning starts from nothing.

The layout is the hub's (tokenizer, text_encoder, transformer, vae, scheduler, model_index.json); only the widths
shrink.
It draws 64 px pictures from 8 x 8 latents of 16 channels. Its tokenizer knows the instruction and the bundled captions.
"""

import argparse
import inspect
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from PIL import Image, ImageOps
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tqdm import trange
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


def keep_tokens_apart(text_encoder: Gemma2Model) -> None:
    """Let random layers pass on which token they were given: embeddings of unit size, quiet residual branches."""
    own_draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        std = text_encoder.config.hidden_size**-0.5  # Gemma multiplies embeddings by its inverse
        torch.nn.init.normal_(text_encoder.embed_tokens.weight, std=std, generator=own_draws)
        for layer in text_encoder.layers:
            layer.post_attention_layernorm.weight.fill_(-0.75)  # Gemma's norms multiply by 1 + weight
            layer.post_feedforward_layernorm.weight.fill_(-0.75)


def picture_of(path: Path) -> torch.Tensor:
    """A picture on white, fitted into a square: (3, 96, 96) in [-1, 1]."""
    picture = Image.open(path).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    square = ImageOps.pad(picture, (96, 96), Image.Resampling.LANCZOS, color="white")
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 127.5 - 1


def train_autoencoder(vae: AutoencoderDC, pixels: torch.Tensor, *, steps: int) -> None:
    """Learn crops at random scales, mirrored and with their colours shuffled; latents stay near unit variance."""
    vae.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1, pct_start=0.05)
    for _ in trange(steps, desc="autoencoder", mininterval=10):
        edge = int(torch.randint(64, 97, ()))
        batch = F.interpolate(pixels[torch.randint(len(pixels), (16,))], size=(edge, edge), mode="area")
        x, y = (int(torch.randint(edge - 63, ())) for _ in range(2))
        batch = batch[:, :, y : y + 64, x : x + 64]
        if torch.rand(()) < 0.5:
            batch = batch.flip(3)
        if torch.rand(()) < 0.5:
            batch = batch[:, torch.randperm(3)]
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(batch).latent
            drawn = vae.decode(latents + 0.05 * torch.randn_like(latents)).sample.float()
        loss = F.l1_loss(drawn, batch) + 0.5 * F.mse_loss(drawn, batch)
        for axis in (2, 3):  # edges count as much as areas
            loss = loss + 0.5 * F.l1_loss(drawn.diff(dim=axis), batch.diff(dim=axis))
        loss = loss + 1e-3 * (latents.float().square().mean() - 1).square()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    vae.eval()


def build(autoencoder_steps: int) -> SanaPipeline:
    """The pipeline with random weights, but for the autoencoder."""
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
    keep_tokens_apart(text_encoder)
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
    pixels = torch.stack([picture_of(path) for path in pictures])
    train_autoencoder(vae, pixels, steps=autoencoder_steps)
    with torch.no_grad():
        small = F.interpolate(pixels, size=(64, 64), mode="area")
        latents = vae.encode(small).latent
        error = (vae.decode(latents).sample - small).square().mean() / 4
        print(f"autoencoder: {-10 * error.log10():.1f} dB on the bundled pictures")
        vae.register_to_config(scaling_factor=round(1 / latents.square().mean().sqrt().item(), 5))
    scheduler = DPMSolverMultistepScheduler(flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction")
    return SanaPipeline(tokenizer, text_encoder, vae, transformer, scheduler)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("folder", nargs="?", type=Path, default=HERE / "sana-tiny")
    cli.add_argument("--autoencoder-steps", type=int, default=1500)
    arguments = cli.parse_args()
    pipeline = build(arguments.autoencoder_steps)
    pipeline.to(torch.bfloat16).save_pretrained(arguments.folder)
    sizes = {
        n: sum(p.numel() for p in m.parameters()) for n, m in pipeline.components.items() if hasattr(m, "parameters")
    }
    print(f"{arguments.folder}: parameters {sizes}, latent scale {pipeline.vae.config.scaling_factor}")
