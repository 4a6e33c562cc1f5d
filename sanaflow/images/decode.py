"""From a picture's bytes to RGB pixels: upright, opaque, resized and cropped."""

import contextlib
import hashlib
import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Formats whose reading runs other programs (EPS, PDF, ...) are not."""
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""The EXIF tag, and its values for a picture that lies on its side."""
MIRRORED, UPSIDE_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)
"""Its values for one whose right edge, or lower edge, is the other one once it is upright."""
ENDINGS = frozenset(ending for ending, name in Image.registered_extensions().items() if name in FORMATS)


class UnreadablePictureError(Exception):
    """The bytes are not a whole picture; the text says why."""


class ChangedPictureError(Exception):
    """The file is not the one that was looked at."""


def read_upright(data: bytes) -> Image.Image:
    """Decode a whole picture to RGB, turned as its EXIF says, transparent parts on white, 16 bits to 8.

    Raises:
        UnreadablePictureError: Not a picture, cut short, of numbers without a scale, or larger than Pillow thinks safe.
    """
    return _decode(data, None)[0]


def _decode(data: bytes, at_least: tuple[int, int] | None) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The picture, and which part of it (left, top, right, bottom) holds what the file shows.

    Args:
        data: The file's bytes.
        at_least: If the caller will reduce the picture to this (width, height), a JPEG may be decoded at 1/2, 1/4 or
            1/8 of its size, never smaller than this: three to five times faster at 12 megapixels. What it changes is
            measured by `python -m benchmarks.latents`. A size that doesn't divide is rounded up, and the picture ends
            inside the last pixel.
    """
    try:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        orientation = _orientation(picture)
        width, height = picture.size
        if at_least:
            picture.draft(None, at_least[::-1] if orientation in SIDEWAYS else at_least)  # no JPEG: does nothing
        scale = max(1, round(width / picture.width))
        picture.load()
        try:
            picture = ImageOps.exif_transpose(picture)
        except Exception:  # a picture whose EXIF is damaged is shown as it is
            orientation = 1
        shown = (height / scale, width / scale) if orientation in SIDEWAYS else (width / scale, height / scale)
        left = picture.width - shown[0] if orientation in MIRRORED else 0.0
        top = picture.height - shown[1] if orientation in UPSIDE_DOWN else 0.0
        if picture.mode == "F":
            raise UnreadablePictureError("its pixels are floating-point numbers without a scale")
        if picture.mode.startswith("I"):  # Pillow's own conversion clips 16 bits to white
            picture = picture.convert("I").point(lambda value: value / 256).convert("L")
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB"), (left, top, left + shown[0], top + shown[1])
    except (UnreadablePictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadablePictureError("not a picture that can be read") from None
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise UnreadablePictureError(str(error) or type(error).__name__) from None


def _orientation(picture: Image.Image) -> int:
    with contextlib.suppress(Exception):  # damaged EXIF
        return picture.getexif().get(ORIENTATION, 1)
    return 1


def read_crop(uri: str, digest: str, *, resize: tuple[int, int], crop: tuple[int, int, int, int]) -> Image.Image:
    """The part (left, top, right, bottom) of a picture resized to (width, height), in pixels. Antialiased Lanczos.

    Raises:
        ChangedPictureError: The file's sha256 is no longer `digest`.
        UnreadablePictureError: It can't be decoded.
        OSError: It can't be read.
    """
    data = Path(uri).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ChangedPictureError("it has changed since it was looked at")
    picture, shown = _decode(data, resize)
    x, y = (shown[2] - shown[0]) / resize[0], (shown[3] - shown[1]) / resize[1]
    left, top, right, bottom = crop  # cut first: a long strip's whole resize may not fit into memory
    box = (
        *(shown[0] + left * x, shown[1] + top * y),
        *(min(shown[0] + right * x, picture.width), min(shown[1] + bottom * y, picture.height)),
    )
    return picture.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=box)


def read_thumbnail(uri: str, edge: int = 128) -> Image.Image:
    """A small copy to look at, for contact sheets; a grey square for what can't be read, which the encoder reports."""
    try:
        picture = read_upright(Path(uri).read_bytes())
    except (OSError, UnreadablePictureError):
        return Image.new("RGB", (edge, edge), "lightgrey")
    picture.thumbnail((edge, edge))
    return picture
