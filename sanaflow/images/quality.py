"""How good are the pictures to train on? Sana learns blur, JPEG blocks and enlargements as readily as what they show.

Everything is measured on the luma at about the size that is trained: what is lost on the way there doesn't matter, and
a 12-megapixel JPEG is decoded to a quarter. Blur and upscaling are judged by the sharpest quarter of the picture alone:
a white background or one out of focus says nothing against the picture.
"""

import contextlib
import io
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from scipy.ndimage import uniform_filter1d

from sanaflow.images.decode import FORMATS, read_upright

TRAINED_PIXELS = 1024 * 1024
GRID = 8  # pixels between the seams of a JPEG's blocks
TILE = 64
SMALLEST_TILE = 16  # below that there are too few frequencies to judge sharpness by
LEAST_STRUCTURE = 0.25  # squared grey levels from pixel to pixel: less is what a codec leaves on a flat wall
NOISE = 0.5  # squared grey levels: rounding to 8 bits and a good JPEG leave less than that
EMPTY = 0.06  # of the strongest frequency, after levelling
REBLUR = 9  # pixels
VISIBLE_STEP = 8  # grey levels: a stronger one is rather a contour of the picture than a seam
FEW_PLACES = 64


@dataclass(frozen=True)
class Quality:
    """What is to be said about one picture's technical quality.

    blur: 0 sharp .. 1 blurred: the share of the steps from pixel to pixel that stays when the picture is blurred again.
    blockiness: by how many grey levels a step on the JPEG grid exceeds its neighbours: 0 clean .. 3 and more.
    upscaling: the share of the frequencies, 0 .. 1, that holds nothing: 0.5 after enlarging to twice the size. Blur
        empties frequencies, too.
    contrast: 0 flat .. 1: the span of luma without the darkest and the brightest hundredth.
    fingerprint: 16 hex digits, a 64-bit perceptual hash; see `near_duplicates`.
    """

    blur: float
    blockiness: float
    upscaling: float
    contrast: float
    fingerprint: str


def measure_quality(data: bytes) -> Quality:
    """Measure a picture, given as the bytes of its file.

    What can't be judged counts as good: blur and upscaling are 0 where the picture is below 16 pixels or flat,
    blockiness where it has too few blocks or is reduced to a quarter of its width or less.

    Raises:
        UnreadablePictureError: It can't be decoded, for example since it is cut short.
    """
    luma, grid = _read_luma(data)
    blockiness = _blockiness(np.asarray(luma), grid)
    scale = (TRAINED_PIXELS / (luma.width * luma.height)) ** 0.5
    if scale < 1:
        size = (max(1, round(luma.width * scale)), max(1, round(luma.height * scale)))
        luma = luma.resize(size, Image.Resampling.LANCZOS)
    tiles = _sharpest_tiles(np.asarray(luma))
    counts = np.cumsum(luma.histogram())
    dark, bright = np.searchsorted(counts, [0.01 * counts[-1], 0.99 * counts[-1]])
    return Quality(
        blur=_blur(tiles),
        blockiness=blockiness,
        upscaling=_empty_share(tiles),
        contrast=float(bright - dark) / 255,
        fingerprint=str(imagehash.phash(luma)),
    )


def _read_luma(data: bytes) -> tuple[Image.Image, int]:
    """Luma of one to four times the trained pixels where the file has as many, and its distance between JPEG seams."""
    with contextlib.suppress(Exception):  # what is wrong with a picture `read_upright` says, below
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        shrink = _shrink(picture.size)
        if isinstance(picture, JpegImageFile) and picture.draft(
            "L", (picture.width // shrink, picture.height // shrink)
        ):
            return ImageOps.exif_transpose(picture).convert("L"), GRID // shrink
    luma = read_upright(data).convert("L")
    shrink = _shrink(luma.size)
    return luma.reduce(shrink), GRID // shrink


def _shrink(size: tuple[int, int]) -> int:
    """The largest of 1, 2, 4 and 8 that leaves at least the trained pixels."""
    return next(shrink for shrink in (8, 4, 2, 1) if shrink == 1 or size[0] * size[1] >= shrink**2 * TRAINED_PIXELS)


def _sharpest_tiles(luma: np.ndarray) -> np.ndarray:
    """(tiles, edge, edge), float32: the quarter of the picture with the strongest steps from pixel to pixel."""
    edge = min(TILE, *luma.shape)
    tops, lefts = (np.linspace(0, length - edge, -(-length // edge)).astype(int) for length in luma.shape)
    tiles = np.lib.stride_tricks.sliding_window_view(luma, (edge, edge))[np.ix_(tops, lefts)].reshape(-1, edge, edge)
    tiles = tiles.astype(np.float32)
    if edge < SMALLEST_TILE:
        return tiles[:0]
    structure = sum(np.square(np.diff(tiles, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
    order = np.argsort(-structure, kind="stable")[: max(4, len(tiles) // 4)]
    return tiles[order[structure[order] > LEAST_STRUCTURE]]


def _blur(tiles: np.ndarray) -> float:
    """Crete et al.'s measure (scikit-image's `blur_effect`, for many tiles): blurring costs a sharp picture more."""
    if not len(tiles):
        return 0.0
    kept = []
    for axis in (1, 2):
        steps = np.abs(np.diff(tiles, axis=axis))
        reblurred = np.abs(np.diff(uniform_filter1d(tiles, REBLUR, axis=axis), axis=axis))
        kept.append(1 - np.maximum(steps - reblurred, 0).sum() / max(steps.sum(), 1e-6))
    return float(max(kept))


def _empty_share(tiles: np.ndarray) -> float:
    """The share of horizontal or vertical frequencies without content, of whichever direction has more content."""
    if not len(tiles):
        return 0.0
    window = np.hanning(tiles.shape[-1] + 2)[1:-1].astype(np.float32)
    shares = []
    for lines in (tiles, tiles.swapaxes(1, 2)):
        spectra = np.fft.rfft((lines - lines.mean(axis=2, keepdims=True)) * window, axis=2)
        power = np.square(np.abs(spectra)).mean(axis=(0, 1)) / np.square(window).sum()
        # Photographs have a power of about 1 / frequency^2: levelled, what is there is all of one magnitude.
        level = np.maximum(power - NOISE, 0) * np.arange(len(power)) ** 2
        level = uniform_filter1d(level, 3)[1:]
        shares.append(np.mean(level < EMPTY * level.max()))
    return float(min(shares))


def _blockiness(luma: np.ndarray, grid: int) -> float:
    """The mean excess of steps on the grid's seams over those one pixel further; the grid may start anywhere."""
    if grid < 4 or min(luma.shape) < 4 * GRID:
        return 0.0
    every = -(-luma.size // (TRAINED_PIXELS // 2))  # lines enough to tell, and no more
    excesses = []
    for lines in (luma[::every], luma.T[::every]):
        steps = np.abs(np.diff(lines.astype(np.int16), axis=1))
        beside = np.maximum(steps[:, :-2], steps[:, 2:])
        excess = np.clip(steps[:, 1:-1] - beside, 0, VISIBLE_STEP)
        structured = (steps[:, 1:-1] + beside) > 0
        places = np.array([np.count_nonzero(structured[:, start::grid]) for start in range(grid)])
        sums = np.array([excess[:, start::grid].sum(dtype=np.int64) for start in range(grid)])
        means = sums / (places + FEW_PLACES)
        excesses.append(means.max() - np.median(means))
    return float(min(excesses))  # a fence may have the grid's period, but only in one direction
