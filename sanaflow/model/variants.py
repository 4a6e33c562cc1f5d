"""The Sana models that their authors publish: where they are, the size they were made for, their shape.

What is known here needs no network: `python -m sanaflow configure` works out what fits a card before anything is
downloaded. A run itself never looks here; it reads the model's own config.json.
"""

from dataclasses import dataclass
from typing import Any

COMPRESSION = 32
"""Pixels of an edge that one latent token stands for (DC-AE f32c32)."""
_COMMON: dict[str, Any] = {
    **{"in_channels": 32, "out_channels": 32, "patch_size": 1, "mlp_ratio": 2.5, "caption_channels": 2304},
    **{"attention_head_dim": 32, "attention_bias": False, "norm_eps": 1e-6, "norm_elementwise_affine": False},
}
_SMALL: dict[str, Any] = _COMMON | {
    **{"num_layers": 28, "num_attention_heads": 36, "num_cross_attention_heads": 16},
    **{"cross_attention_head_dim": 72, "cross_attention_dim": 1152},
}
_LARGE: dict[str, Any] = _COMMON | {
    **{"num_layers": 20, "num_attention_heads": 70, "num_cross_attention_heads": 20},
    **{"cross_attention_head_dim": 112, "cross_attention_dim": 2240},
}
_LARGE_15: dict[str, Any] = _LARGE | {"qk_norm": "rms_norm_across_heads"}


@dataclass(frozen=True)
class Variant:
    """A published model.

    Attributes:
        hub_id: Its repository.
        edge: Of the square, in pixels, that it was made for.
        shape: Keys of its transformer's config.json but for the size.
        interpolation_scale: Of the position embedding, which only those for 2048 and 4096 px have.
        about: What sets it apart.
    """

    hub_id: str
    edge: int
    shape: dict[str, Any]
    about: str
    interpolation_scale: float | None = None

    def config(self) -> dict[str, Any]:
        """The transformer's config.json."""
        return self.shape | {
            "sample_size": self.edge // COMPRESSION,
            "interpolation_scale": self.interpolation_scale,
        }


_OWNER = "Efficient-Large-Model"
VARIANTS: dict[str, Variant] = {
    "0.6b-512": Variant(f"{_OWNER}/Sana_600M_512px_diffusers", 512, _SMALL, "the smallest"),
    "0.6b-1024": Variant(f"{_OWNER}/Sana_600M_1024px_diffusers", 1024, _SMALL, "small"),
    "1.6b-512": Variant(f"{_OWNER}/Sana_1600M_512px_diffusers", 512, _LARGE, "for small pictures"),
    "1.6b-1024": Variant(f"{_OWNER}/Sana_1600M_1024px_BF16_diffusers", 1024, _LARGE, "what most people tune"),
    "1.6b-2048": Variant(f"{_OWNER}/Sana_1600M_2Kpx_BF16_diffusers", 2048, _LARGE, "for 2K", 1.0),
    "1.6b-4096": Variant(f"{_OWNER}/Sana_1600M_4Kpx_BF16_diffusers", 4096, _LARGE, "for 4K", 2.0),
    "1.5-1.6b-1024": Variant(f"{_OWNER}/SANA1.5_1.6B_1024px_diffusers", 1024, _LARGE_15, "Sana 1.5"),
    "1.5-4.8b-1024": Variant(
        f"{_OWNER}/SANA1.5_4.8B_1024px_diffusers", 1024, _LARGE_15 | {"num_layers": 60}, "Sana 1.5, the largest"
    ),
}
"""By the names that `python -m sanaflow configure` takes. Sana-Sprint isn't here: it is no `SanaPipeline`."""


def variant_of(hub_id: str) -> Variant | None:
    """The published model in a repository, if it is one."""
    return next((variant for variant in VARIANTS.values() if variant.hub_id == hub_id), None)
