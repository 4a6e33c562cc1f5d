import io
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from skimage import data

from sanaflow.images.decode import UnreadablePictureError, read_upright
from sanaflow.images.quality import Quality, measure_quality

EMOJI = sorted((Path(__file__).parents[2] / "assets/pictures").glob("*.webp"))
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "grass", "gravel", "camera")  # inside scikit-image's wheel
NEAR = 6  # bits


def photograph(name: str) -> Image.Image:
    picture = Image.fromarray(getattr(data, name)()).convert("RGB")
    return picture.reduce(2) if name == "rocket" else picture  # that one is a JPEG


def encoded(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


def measured(picture: Image.Image, **options) -> Quality:
    return measure_quality(encoded(picture, **options))


def enlarged(picture: Image.Image, factor: float) -> Image.Image:
    small = picture.resize(tuple(round(length / factor) for length in picture.size), Image.Resampling.LANCZOS)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def apart(one: Quality, other: Quality) -> int:
    return (int(one.fingerprint, 16) ^ int(other.fingerprint, 16)).bit_count()


@pytest.fixture(params=[*PHOTOGRAPHS, *EMOJI[::16]], ids=lambda source: getattr(source, "stem", source))
def picture(request) -> Image.Image:
    return read_upright(request.param.read_bytes()) if isinstance(request.param, Path) else photograph(request.param)


def test_a_clean_picture_is_conspicuous_in_nothing(picture):
    clean = measured(picture)
    assert clean.blur < 0.5 and clean.blockiness < 1 and clean.upscaling < 0.2 and clean.contrast > 0.35


def test_the_more_it_is_blurred_the_more_blur_is_seen(picture):
    blurs = [measured(picture.filter(ImageFilter.GaussianBlur(sigma))).blur for sigma in (0, 1, 2, 4)]
    assert blurs == sorted(blurs) and blurs[2] > 0.5 and blurs[2] > blurs[0] + 0.2


def test_the_more_it_is_compressed_the_more_blocks_are_seen(picture):
    clean, poor, worst = (measured(picture, quality=quality).blockiness for quality in (95, 30, 10))
    assert poor > clean + 0.5 and worst > poor + 0.5


def test_the_more_it_was_enlarged_the_more_of_the_spectrum_is_empty(picture):
    shares = [measured(enlarged(picture, factor)).upscaling for factor in (1, 2, 3, 4)]
    assert shares == sorted(shares) and shares[1] > 0.2 and shares[3] > 0.5


def test_the_more_it_is_squeezed_the_less_contrast_is_left(picture):
    full = measured(picture).contrast
    for share in (0.5, 0.25, 0.1):
        squeezed = picture.point([128 + (value - 128) * share for value in range(256)] * 3)
        assert measured(squeezed).contrast == pytest.approx(full * share, abs=0.03)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_little_contrast_is_not_taken_for_blur_or_enlargement(share):
    for name in PHOTOGRAPHS:
        squeezed = measured(photograph(name).point([128 + (value - 128) * share for value in range(256)] * 3))
        assert squeezed.blur < 0.5 and squeezed.upscaling < 0.2, name


def test_a_large_white_margin_changes_nothing_of_blur_and_enlargement():
    for name in ("astronaut", "coffee"):
        wide = Image.new("RGB", (1400, 1000), "white")
        wide.paste(photograph(name), (128, 192))
        alone, on_white = measured(photograph(name)), measured(wide)
        assert on_white.blur == pytest.approx(alone.blur, abs=0.1)
        assert on_white.upscaling == pytest.approx(alone.upscaling, abs=0.1)


def test_a_background_out_of_focus_is_not_held_against_the_picture():
    sharp = photograph("astronaut")
    shallow = sharp.filter(ImageFilter.GaussianBlur(6))
    shallow.paste(sharp.crop((128, 64, 384, 320)), (128, 64))
    assert measured(shallow).blur < 0.5 and measured(shallow).upscaling < 0.2


def test_blocks_are_found_in_any_format_and_wherever_the_grid_begins():
    blocky = read_upright(encoded(photograph("coffee"), quality=10))
    there = measure_quality(encoded(blocky, "PNG")).blockiness
    moved = measure_quality(encoded(blocky.crop((3, 5, *blocky.size)), "PNG")).blockiness
    assert there > 2 and moved == pytest.approx(there, rel=0.1)


def test_texture_with_the_grids_period_in_one_direction_is_not_blocks():
    fence = np.tile(np.where(np.arange(512) % 8 == 0, 60, 200).astype(np.uint8), (512, 1))
    assert measure_quality(encoded(Image.fromarray(fence), "PNG")).blockiness < 0.1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_a_large_picture_loses_before_training_does_not_matter(kind):
    large = photograph("astronaut").resize((2600, 2600), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(1))
    small = large.resize((1024, 1024), Image.Resampling.LANCZOS)
    reduced, direct = (measure_quality(encoded(each, kind)) for each in (large, small))
    assert reduced.blur == pytest.approx(direct.blur, abs=0.05)
    assert reduced.upscaling == pytest.approx(direct.upscaling, abs=0.07)
    assert apart(reduced, direct) <= 2


def test_blocks_that_survive_the_reduction_are_found():
    tiles = [photograph(name).resize((512, 512)) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    large = Image.new("RGB", (2560, 2560))
    for place in range(25):
        large.paste(tiles[place % 4], (place % 5 * 512, place // 5 * 512))
    assert measured(large, quality=10).blockiness > measured(large, quality=95).blockiness + 0.3


@pytest.mark.parametrize(
    "copied",
    [
        lambda picture: read_upright(encoded(picture, quality=60)),
        lambda picture: picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC),
        lambda picture: picture.resize((picture.width * 9 // 8, picture.height * 9 // 8), Image.Resampling.BICUBIC),
        lambda picture: ImageEnhance.Contrast(picture).enhance(0.8),
    ],
    ids=["re-saved", "half size", "enlarged", "paler"],
)
def test_a_copy_keeps_its_fingerprint(picture, copied):
    assert apart(measured(picture), measured(copied(picture))) <= NEAR


def test_different_pictures_have_different_fingerprints():
    photographs = [measured(photograph(name)) for name in PHOTOGRAPHS]
    emoji = [measure_quality(path.read_bytes()) for path in EMOJI]
    every = photographs + emoji
    close = [(i, j) for i in range(len(every)) for j in range(i) if apart(every[i], every[j]) <= NEAR]
    assert len(close) <= 1  # the green apple and the red one


def test_a_turned_picture_is_measured_upright():
    upright = photograph("chelsea")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert apart(measure_quality(turned), measured(upright)) <= 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_without_rgb_are_read(mode):
    one, other = measured(photograph("astronaut").convert(mode)), measured(photograph("astronaut"))
    assert one.contrast == pytest.approx(other.contrast, abs=0.1) and apart(one, other) <= NEAR


def test_transparent_parts_are_white():
    cut_out = Image.open(EMOJI[0])
    assert cut_out.mode == "RGBA"
    assert measure_quality(EMOJI[0].read_bytes()) == measure_quality(
        encoded(read_upright(EMOJI[0].read_bytes()), "PNG")
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (8, 8), (1, 5000), (3000, 15), (33, 31), (40, 3000)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_tiny_and_thin_pictures_have_values(size, kind):
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    quality = measure_quality(encoded(Image.fromarray(noise), kind))
    assert all(np.isfinite(value) for value in astuple(quality)[:4])
    assert len(quality.fingerprint) == 16 and int(quality.fingerprint, 16) >= 0
    if min(size) < 16:
        assert quality.blur == quality.upscaling == quality.blockiness == 0


@pytest.mark.parametrize("colour", ["white", "black", (90, 120, 30)])
def test_one_colour_has_no_contrast_and_is_nothing_else(colour):
    quality = measured(Image.new("RGB", (300, 200), colour))
    assert astuple(quality)[:4] == (0, 0, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_bytes_that_are_cut_short_are_refused(kind):
    whole = encoded(photograph("astronaut"), kind)
    for cut in (whole[: len(whole) // 2], whole[:20], b""):
        with pytest.raises(UnreadablePictureError):
            measure_quality(cut)


def test_the_same_bytes_measure_the_same():
    whole = encoded(photograph("coffee"))
    assert measure_quality(whole) == measure_quality(whole)
