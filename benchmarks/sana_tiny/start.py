"""Sana pipelines of the real classes, small enough for a laptop, before anything but an autoencoder is trained.

The layout is the hub's: tokenizer, text_encoder, transformer, vae, scheduler, model_index.json. Only widths shrink.
"""

import inspect
import json
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

INSTRUCTION = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
SPECIAL_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]  # Gemma's, with Gemma's ids
TEXT_ENCODER: dict[str, Any] = {
    **{"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32},
}
TRANSFORMER: dict[str, Any] = {
    **{"num_layers": 6, "num_attention_heads": 8, "attention_head_dim": 32, "mlp_ratio": 2.5},
    **{"num_cross_attention_heads": 4, "cross_attention_head_dim": 64, "cross_attention_dim": 256},
    "qk_norm": "rms_norm_across_heads",
}


def make_pipeline(
    vae: AutoencoderDC,
    captions: Sequence[str],
    *,
    vocabulary: int,
    edge: int,
    text_encoder: dict[str, Any] = TEXT_ENCODER,
    transformer: dict[str, Any] = TRANSFORMER,
) -> SanaPipeline:
    """A pipeline whose text encoder and transformer have random weights, from torch's generator.

    Args:
        vae: Its autoencoder.
        captions: What the tokenizer is trained on, beside the instruction.
        vocabulary: Tokens of the tokenizer at most.
        edge: Pixels of a square picture that it is made for.
        text_encoder: Keys of `Gemma2Config`.
        transformer: Keys of `SanaTransformer2DModel`.
    """
    tokenizer = train_tokenizer([*INSTRUCTION, *captions] * 4, vocabulary)
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    encoder = Gemma2Model(Gemma2Config(vocab_size=len(tokenizer), **special, **text_encoder))
    keep_tokens_apart(encoder)
    channels = vae.config.latent_channels
    drawer = SanaTransformer2DModel(
        **{"in_channels": channels, "out_channels": channels, "patch_size": 1},
        sample_size=edge // vae.spatial_compression_ratio,
        caption_channels=encoder.config.hidden_size,
        **transformer,
    )
    scheduler = DPMSolverMultistepScheduler(flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction")
    return SanaPipeline(tokenizer, encoder.eval(), vae, drawer, scheduler)


def train_tokenizer(texts: list[str], vocabulary: int) -> GemmaTokenizer:
    """A byte-fallback BPE as Gemma's: '▁' for a space, right padding, a BOS before every text."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # no token is of two words
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL_TOKENS + byte_tokens, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
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
