"""Pictures to latents and captions to embeddings on the GPU here: how many a second, in how much memory.

python -m benchmarks.gpu_encoding

The real shapes of Sana's autoencoder (DC-AE f32c32) and text encoder (Gemma 2 2B) with random weights: speed and memory
don't depend on their values. Pictures are in memory already, decoded; captions of 57 tokens on average follow an
instruction of 240. Against ours: the text encoder as `SanaPipeline.encode_prompt` calls it, each caption with the
instruction and padded to 538 tokens, one at a time and 32 at once.
"""

import gc
import time
from collections.abc import Callable

import click
import numpy as np
import torch
from diffusers import AutoencoderDC
from PIL import Image
from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast

from benchmarks.captions import KEPT, make_captions, train_tokenizer
from sanaflow.cache.captions import INSTRUCTION, Text, TextEncoder, TextTokens
from sanaflow.cache.latents import batch_size, encode_pictures
from sanaflow.config import CacheSettings

GIB = 2**30
PARTS = ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3
SCALES = [[], [], [], [5], [5], [5]]
DC_AE = {
    **{"latent_channels": 32, "attention_head_dim": 32, "scaling_factor": 0.41407},
    **{"encoder_block_types": PARTS, "decoder_block_types": PARTS},
    **{"encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]},
    **{"decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]},
    **{"encoder_layers_per_block": [2, 2, 2, 3, 3, 3], "decoder_layers_per_block": [3] * 6},
    **{"encoder_qkv_multiscales": SCALES, "decoder_qkv_multiscales": SCALES},
    **{"downsample_block_type": "conv", "upsample_block_type": "interpolate"},
    **{"decoder_norm_types": "rms_norm", "decoder_act_fns": "silu"},
}
PICTURES = {
    "1024 px": (1024, 32, CacheSettings(vae_dtype="fp32")),
    "1024 px, bf16": (1024, 32, CacheSettings(vae_dtype="bf16")),
    "512 px, bf16": (512, 64, CacheSettings(vae_dtype="bf16")),
    "2048 px, bf16": (2048, 8, CacheSettings(vae_dtype="bf16")),
    "4096 px, bf16": (4096, 2, CacheSettings(vae_dtype="bf16")),
    "4096 px, bf16, tiled": (4096, 2, CacheSettings(vae_dtype="bf16", vae_enable_tiling=True)),
}
CAPTIONS, AT_ONCE = 512, 32


@click.command(help=__doc__)
def main() -> None:
    """Print a line a case."""
    if not torch.cuda.is_available():
        raise click.ClickException("there is no GPU here, and this measures one")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    with torch.inference_mode():
        for name, (edge, count, settings) in PICTURES.items():
            report(f"pictures of {name}", count, latents_of(edge, count, settings))
            gc.collect()
            torch.cuda.empty_cache()
        with torch.device("cuda"):
            encoder = Gemma2Model(Gemma2Config()).eval().bfloat16()
        tokenizer = train_tokenizer()
        captions = make_captions(tokenizer, CAPTIONS)
        texts = [Text(caption, instructed=True) for caption in sorted(captions, key=len)]
        tokens = TextTokens(tokenizer, KEPT)
        ours = TextEncoder(encoder, tokens, CacheSettings())
        report("captions, ours, 32 at once", CAPTIONS, lambda: encode(ours, tokens, texts))
        longest = len(tokens.instruction) + KEPT - 2
        for at_once in (1, AT_ONCE):
            few = captions[: 64 * at_once][:CAPTIONS]
            report(f"captions, padded, {at_once} at once", len(few), padded(encoder, tokenizer, few, longest, at_once))


def latents_of(edge: int, count: int, settings: CacheSettings) -> Callable[[], object]:
    """Encoding `count` random pictures by the project's own function."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        vae = AutoencoderDC(**DC_AE).eval()
    vae = vae.to({"fp32": torch.float32, "bf16": torch.bfloat16}[settings.vae_dtype], memory_format=torch.channels_last)
    if settings.vae_enable_tiling:
        vae.enable_tiling()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (edge, edge, 3), np.uint8))
    batch = batch_size(edge, edge, settings)
    return lambda: [encode_pictures(vae, [picture] * min(batch, count - i), settings) for i in range(0, count, batch)]


def encode(encoder: TextEncoder, tokens: TextTokens, texts: list[Text]) -> None:
    """All texts in batches that share as many tokens, as the cache does it."""
    groups: dict[int, list[Text]] = {}
    for text, ids in zip(texts, tokens.ids(texts), strict=True):
        groups.setdefault(tokens.shared(text, ids), []).append(text)
    for group in groups.values():
        for i in range(0, len(group), AT_ONCE):
            encoder(group[i : i + AT_ONCE])


def padded(
    encoder: Gemma2Model, tokenizer: PreTrainedTokenizerFast, captions: list[str], longest: int, at_once: int
) -> Callable[[], object]:
    """The encoder's part of `SanaPipeline.encode_prompt`, the result brought to the CPU."""

    def run() -> None:
        for i in range(0, len(captions), at_once):
            texts = [INSTRUCTION + caption for caption in captions[i : i + at_once]]
            ids = tokenizer(texts, padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
            encoder(ids["input_ids"].cuda(), attention_mask=ids["attention_mask"].cuda())[0].cpu()

    return run


def report(name: str, count: int, work: Callable[[], object]) -> None:
    """Do it twice, time the second, and print."""
    work()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    print(
        f"{name:<36} {count / seconds:8.2f} a second, at most {torch.cuda.max_memory_allocated() / GIB:5.1f} GiB",
        flush=True,
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.gpu_encoding")
