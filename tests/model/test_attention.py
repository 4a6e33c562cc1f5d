import pytest
import torch
from diffusers.models.attention_processor import Attention, SanaLinearAttnProcessor2_0

from sanaflow.model.attention import Fp32LinearAttention, keep_linear_attention_fp32
from sanaflow.model.loading import load_transformer


def attention(processor, qk_norm=None):
    torch.manual_seed(0)
    heads = {"heads": 2, "kv_heads": 2 if qk_norm else None}  # as SanaTransformer2DModel does
    return Attention(64, dim_head=32, bias=False, qk_norm=qk_norm, processor=processor, **heads).eval()


@pytest.mark.parametrize("qk_norm", [None, "rms_norm_across_heads"])
@torch.no_grad()
def test_without_autocast_it_equals_diffusers(qk_norm):
    tokens = torch.randn(2, 100, 64)
    ours = attention(Fp32LinearAttention(), qk_norm)(tokens)
    assert torch.equal(ours, attention(SanaLinearAttnProcessor2_0(), qk_norm)(tokens))


@torch.no_grad()
def test_a_token_with_a_zero_query_is_nan_in_diffusers_under_fp16_and_finite_here():
    tokens = torch.randn(1, 256, 64)
    tokens[:, 7] = 0
    with torch.autocast("cpu", torch.float16):
        assert attention(SanaLinearAttnProcessor2_0())(tokens).isnan().any()
        assert attention(Fp32LinearAttention())(tokens).isfinite().all()


@torch.no_grad()
def test_under_bf16_it_is_closer_to_fp32_than_diffusers():
    tokens = torch.randn(1, 4096, 64)
    exact = attention(SanaLinearAttnProcessor2_0())(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        error_here = (attention(Fp32LinearAttention())(tokens) - exact).norm()
        error_there = (attention(SanaLinearAttnProcessor2_0())(tokens) - exact).norm()
    assert error_here < error_there


def test_every_self_attention_of_a_loaded_transformer_is_replaced(small_sana):
    transformer = load_transformer(small_sana)
    assert all(isinstance(block.attn1.processor, Fp32LinearAttention) for block in transformer.transformer_blocks)
    before = [block.attn2.processor for block in transformer.transformer_blocks]
    keep_linear_attention_fp32(transformer)
    assert [block.attn2.processor for block in transformer.transformer_blocks] == before  # softmax attention stays
