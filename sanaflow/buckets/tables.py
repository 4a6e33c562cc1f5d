"""Which sizes a picture may be trained at: Sana's own aspect buckets, and the same shapes at other resolutions."""

from functools import cache

from sanaflow.errors import InputError

Size = tuple[int, int]
"""(width, height) in pixels."""


@cache
def sana_buckets(resolution: int) -> tuple[Size, ...]:
    """Sana's own sizes for 512, 1024, 2048 or 4096 px, as diffusers has them (there: ratio h/w -> [h, w])."""
    from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import ASPECT_RATIO_512_BIN, ASPECT_RATIO_1024_BIN
    from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import ASPECT_RATIO_2048_BIN
    from diffusers.pipelines.sana.pipeline_sana import ASPECT_RATIO_4096_BIN

    tables = {
        512: ASPECT_RATIO_512_BIN,
        1024: ASPECT_RATIO_1024_BIN,
        2048: ASPECT_RATIO_2048_BIN,
        4096: ASPECT_RATIO_4096_BIN,
    }
    return tuple((int(w), int(h)) for h, w in tables[resolution].values())


@cache
def buckets_for(resolution: int, alignment: int) -> tuple[Size, ...]:
    """Sizes whose area is close to `resolution` squared and whose sides divide by `alignment` pixels.

    Sana's own table where it has one; elsewhere its 1024 px shapes, scaled and rounded.

    Raises:
        InputError: The square itself doesn't divide by `alignment`.
    """
    if resolution % alignment:
        below = max(alignment, resolution // alignment * alignment)
        raise InputError(
            f"resolution {resolution} can't be divided by {alignment}, the model's pixels per latent token: "
            f"use {below} or {(resolution // alignment + 1) * alignment}"
        )
    if resolution in (512, 1024, 2048, 4096) and all(s % alignment == 0 for wh in sana_buckets(resolution) for s in wh):
        return sana_buckets(resolution)

    def scaled(side: int) -> int:
        return max(1, round(side * resolution / 1024 / alignment)) * alignment

    return tuple(sorted({(scaled(w), scaled(h)) for w, h in sana_buckets(1024)}))
