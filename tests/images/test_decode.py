import io

import numpy as np
import pytest
from PIL import Image

from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import UnreadablePictureError, read_crop, read_upright


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


@pytest.mark.parametrize("data", [b"", b"hello", encoded(Image.new("RGB", (64, 64)))[:60]])
def test_what_is_no_whole_picture_is_refused(data):
    with pytest.raises(UnreadablePictureError):
        read_upright(data)


def test_a_crop_has_the_size_of_its_box_and_its_pixels(tmp_path):
    pixels = np.zeros((10, 20, 3), dtype=np.uint8)
    pixels[:, 10:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    crop = read_crop(str(tmp_path / "a.png"), resize=(40, 20), crop=(28, 2, 40, 14))
    assert crop.size == (12, 12)
    assert np.asarray(crop).min() == 255


def test_a_contact_sheet_shows_every_picture():
    sheet = np.asarray(
        contact_sheet([Image.new("RGB", (9, 9), c) for c in ("red", "green", "blue")], ["x"] * 3, columns=2)
    )
    assert {tuple(c) for c in sheet.reshape(-1, 3)} >= {(255, 0, 0), (0, 128, 0), (0, 0, 255)}
