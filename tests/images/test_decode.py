import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

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


def photograph(width, height):
    """Edges, gradients and grain."""
    noise = np.random.default_rng(0)
    coarse = Image.fromarray(noise.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels += noise.normal(0, 6, (height, width, 1)).astype(int)
    pixels[height // 3 : height // 2, width // 3 : width // 2] = 20
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def psnr(one, other):
    difference = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    return 10 * np.log10(255**2 / (difference**2).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored", [(800, 600), (801, 601), (807, 605), (803, 607)])
@pytest.mark.parametrize("size", [(96, 72), (200, 150), (299, 224), (397, 298)])
def test_a_jpeg_decoded_at_reduced_scale_gives_the_pixels_of_a_full_decode(tmp_path, orientation, size, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(*stored), "JPEG", quality=92, exif=exif)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    resize = size if orientation < 5 else size[::-1]
    part = (3, 5, resize[0] - 7, resize[1] - 2)
    reduced = read_crop(str(path), hashlib.sha256(data).hexdigest(), resize=resize, crop=part)
    full = read_upright(data).resize(resize, Image.Resampling.LANCZOS).crop(part)
    assert reduced.size == full.size
    assert psnr(reduced, full) > 38


def test_a_jpeg_is_decoded_no_smaller_than_wanted(tmp_path, monkeypatch):
    decoded = []
    load = ImageFile.ImageFile.load

    def note(self):
        decoded.append(self.size)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", note)
    data = encoded(photograph(800, 600), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    full, half, eighth = (800, 600), (400, 300), (100, 75)
    for wanted, size in (((400, 300), half), ((401, 300), full), ((90, 70), eighth), ((900, 700), full)):
        decoded.clear()
        read_crop(str(tmp_path / "a.jpg"), hashlib.sha256(data).hexdigest(), resize=wanted, crop=(0, 0, 10, 10))
        assert set(decoded) == {size}


def test_memory_that_runs_out_is_not_the_pictures_fault(monkeypatch):
    def run_out(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", run_out)
    with pytest.raises(MemoryError):
        read_upright(b"")


def test_a_picture_that_can_not_be_turned_is_cropped_as_it_is(tmp_path, monkeypatch):
    def fail(picture):
        raise ValueError("a tag that can't be written back")

    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photograph(801, 601), "JPEG", quality=92, exif=exif)
    (tmp_path / "a.jpg").write_bytes(data)
    cropped = read_crop(
        str(tmp_path / "a.jpg"), hashlib.sha256(data).hexdigest(), resize=(200, 150), crop=(0, 0, 200, 150)
    )
    assert psnr(cropped, photograph(801, 601).resize((200, 150), Image.Resampling.LANCZOS)) > 30
