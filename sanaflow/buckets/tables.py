"""Which sizes a picture may be trained at: Sana's own aspect buckets, and the same shapes at other resolutions."""

from functools import cache

from sanaflow.errors import InputError

Size = tuple[int, int]
"""(width, height) in pixels."""


SANA_SIZES = {
    512: """
        1024x256 928x256 896x288 864x288 832x288 800x320 768x320 736x352 704x352 672x352 672x384 640x384
        608x416 576x416 576x448 544x448 544x480 512x480 512x512 480x512 480x544 448x544 448x576 416x576
        416x608 384x640 384x672 352x704 352x736 320x768 320x800 288x864 256x1024
    """,
    1024: """
        2048x512 1856x512 1792x576 1728x576 1664x576 1600x640 1536x640 1472x704 1408x704 1344x704 1344x768
        1280x768 1216x832 1152x832 1152x896 1088x896 1088x960 1024x960 1024x1024 960x1024 960x1088 896x1088
        896x1152 832x1152 832x1216 768x1280 768x1344 704x1408 704x1472 640x1536 640x1600 576x1728 512x2048
    """,
    2048: """
        4096x1024 3968x1024 3840x1024 3712x1024 3584x1152 3456x1152 3328x1152 3200x1280 3072x1280 2944x1408
        2816x1408 2688x1408 2688x1536 2560x1536 2432x1664 2304x1664 2304x1792 2176x1792 2176x1920 2048x1920
        2048x2048 1920x2048 1920x2176 1792x2176 1792x2304 1664x2304 1664x2432 1536x2560 1536x2688 1408x2816
        1408x2944 1280x3072 1280x3200 1152x3328 1152x3456 1152x3584 1024x3712 1024x3840 1024x3968 1024x4096
    """,
    4096: """
        8192x2048 7936x2048 7680x2048 7424x2048 7168x2304 6912x2304 6656x2304 6400x2560 6144x2560 5888x2816
        5632x2816 5376x2816 5376x3072 5120x3072 4864x3328 4608x3328 4608x3584 4352x3584 4352x3840 4096x3840
        4096x4096 3840x4096 3840x4352 3584x4352 3584x4608 3328x4608 3328x4864 3072x5120 3072x5376 2816x5632
        2816x5888 2560x6144 2560x6400 2304x6656 2304x6912 2304x7168 2048x7424 2048x7680 2048x7936 2048x8192
    """,
}
"""Sana's own sizes, as diffusers has them. Copied, as importing that takes seconds and half a gigabyte."""


@cache
def sana_buckets(resolution: int) -> tuple[Size, ...]:
    """Sana's own sizes for 512, 1024, 2048 or 4096 px."""
    pairs = (text.split("x") for text in SANA_SIZES[resolution].split())
    return tuple((int(width), int(height)) for width, height in pairs)


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
    if resolution in SANA_SIZES and all(s % alignment == 0 for wh in sana_buckets(resolution) for s in wh):
        return sana_buckets(resolution)

    def scaled(side: int) -> int:
        return max(1, round(side * resolution / 1024 / alignment)) * alignment

    return tuple(sorted({(scaled(w), scaled(h)) for w, h in sana_buckets(1024)}))
