import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import ChangedPictureError, UnreadablePictureError, read_crop, read_upright


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def test_transparent_parts_become_white():
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 0), (255, 0, 0, 0))
    read = read_upright(encoded(picture))
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode):
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    assert read_upright(encoded(Image.new(mode, (3, 2)), kind)).mode == "RGB"


def test_sixteen_bits_are_scaled_to_eight():
    ramp = Image.fromarray(np.arange(0, 65536, 256, dtype=np.uint16)[None])
    assert ramp.mode == "I;16"
    for kind in ("PNG", "TIFF"):
        assert [read_upright(encoded(ramp, kind)).getpixel((x, 0))[0] for x in (0, 100, 255)] == [0, 100, 255]


def test_a_damaged_exif_block_does_not_cost_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (4, 2), "red"), "JPEG", exif=exif)
    at = data.index(b"Exif\x00\x00") + 6
    assert read_upright(data[:at] + b"II*\x00\xff\xff\xff\xff" + data[at + 8 :]).size == (4, 2)
    assert read_upright(data).size == (2, 4)


def test_numbers_without_a_scale_are_refused():
    with pytest.raises(UnreadablePictureError, match="floating-point"):
        read_upright(encoded(Image.new("F", (2, 2)), "TIFF"))


@pytest.mark.parametrize("data", [b"", b"hello", encoded(Image.new("RGB", (64, 64)))[:60]])
def test_what_is_no_whole_picture_is_refused(data):
    with pytest.raises(UnreadablePictureError):
        read_upright(data)


def test_a_crop_has_the_size_of_its_box_and_its_pixels(tmp_path):
    pixels = np.zeros((10, 20, 3), dtype=np.uint8)
    pixels[:, 10:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    digest = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    crop = read_crop(str(tmp_path / "a.png"), digest, resize=(40, 20), crop=(28, 2, 40, 14))
    assert crop.size == (12, 12)
    assert np.asarray(crop).min() == 255


def test_a_contact_sheet_shows_every_picture():
    sheet = np.asarray(
        contact_sheet([Image.new("RGB", (9, 9), c) for c in ("red", "green", "blue")], ["x"] * 3, columns=2)
    )
    assert {tuple(c) for c in sheet.reshape(-1, 3)} >= {(255, 0, 0), (0, 128, 0), (0, 0, 255)}


def test_a_crop_equals_the_crop_of_the_resized_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    digest = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    crop = read_crop(str(tmp_path / "a.png"), digest, resize=(80, 45), crop=(8, 0, 72, 45))
    whole = Image.fromarray(noise).resize((80, 45), Image.Resampling.LANCZOS).crop((8, 0, 72, 45))
    assert np.abs(np.asarray(crop, int) - np.asarray(whole, int)).max() <= 1


def test_a_file_that_changed_since_it_was_looked_at_is_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ChangedPictureError, match="has changed since"):
        read_crop(str(tmp_path / "a.png"), "0" * 64, resize=(8, 8), crop=(0, 0, 8, 8))
