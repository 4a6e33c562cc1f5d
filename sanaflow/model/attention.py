"""Linear attention whose sums stay in fp32 under autocast.

Sana's linear attention sums over all tokens, which overflows fp16 and loses digits in bf16. diffusers casts its
inputs with
`.float()`, but autocast casts the two matrix products back down: in fp16 a token whose query is zero becomes 0/0 =
NaN. The authors' own code turns autocast off around exactly these two products, and so does this processor.
"""

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, SanaLinearAttnProcessor2_0


class Fp32LinearAttention:
    """Drop-in for `SanaLinearAttnProcessor2_0`: equal to it without autocast."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend over tokens: (batch, tokens, channels) to the same shape and dtype."""
        given_dtype = hidden_states.dtype
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        # (batch, heads, channels a head, tokens)
        query, key, value = (x.transpose(1, 2).unflatten(1, (attn.heads, -1)) for x in (query, key, value))
        with torch.autocast(hidden_states.device.type, enabled=False):
            attended = linear_attention(query.float(), key.float(), value.float())
        attended = attended.flatten(1, 2).transpose(1, 2).to(given_dtype)
        attended = attn.to_out[1](attn.to_out[0](attended))
        return attended.clip(-65504, 65504) if given_dtype == torch.float16 else attended


def linear_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax-free attention with ReLU features (https://arxiv.org/abs/2410.10629), all (batch, heads, channels,
    tokens) fp32.

    The row of ones appended to the values sums the weights, by which the result is divided.
    """
    value = F.pad(value, (0, 0, 0, 1), value=1.0)
    summed = (value @ F.relu(key).transpose(2, 3)) @ F.relu(query)
    return summed[:, :, :-1] / (summed[:, :, -1:] + 1e-15)


def keep_linear_attention_fp32(transformer: torch.nn.Module) -> None:
    """Put `Fp32LinearAttention` in place of every linear attention of a `SanaTransformer2DModel`."""
    for module in transformer.modules():
        if isinstance(module, Attention) and isinstance(module.processor, SanaLinearAttnProcessor2_0):
            module.set_processor(Fp32LinearAttention())
