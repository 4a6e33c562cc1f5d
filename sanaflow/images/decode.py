"""From a picture's bytes to RGB pixels: upright, opaque, resized and cropped."""

import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class UnreadablePictureError(Exception):
    """The bytes are not a whole picture; the text says why."""


def read_upright(data: bytes) -> Image.Image:
    """Decode a whole picture to RGB, turned as its EXIF says, transparent parts on white.

    Raises:
        UnreadablePictureError: Not a picture, cut short, or larger than Pillow thinks safe.
    """
    try:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        return picture.convert("RGB")
    except UnidentifiedImageError:
        raise UnreadablePictureError("not a picture that can be read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadablePictureError(str(error)) from None


def read_crop(uri: str, *, resize: tuple[int, int], crop: tuple[int, int, int, int]) -> Image.Image:
    """Read, resize to (width, height) and crop to (left, top, right, bottom), in pixels. Antialiased Lanczos."""
    return read_upright(Path(uri).read_bytes()).resize(resize, Image.Resampling.LANCZOS).crop(crop)


def read_thumbnail(uri: str, edge: int = 128) -> Image.Image:
    """A small copy to look at, for contact sheets."""
    picture = read_upright(Path(uri).read_bytes())
    picture.thumbnail((edge, edge))
    return picture
