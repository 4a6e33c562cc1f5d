"""A picture's size from its header, and whether its bytes are all there, without decoding it."""

import io
import struct
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from sanaflow.images.decode import FORMATS, UnreadablePictureError, read_upright

ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""EXIF orientations in which width and height change places."""


@dataclass(frozen=True)
class Header:
    """Size in pixels as a viewer shows it, after EXIF orientation."""

    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Read a picture's header, and check that its end is there.

    JPEG, PNG and WebP say where they end. Of other formats, and of those whose end looks wrong, all pixels are read.

    Raises:
        UnreadablePictureError: No picture, animated, cut short, or of more pixels than Pillow thinks safe.
    """
    if not data:
        raise UnreadablePictureError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, SyntaxError):
        raise UnreadablePictureError("not a picture that can be read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadablePictureError(f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels: make it smaller") from None
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise UnreadablePictureError(str(error) or type(error).__name__) from None
    if picture.format in ("GIF", "WEBP", "PNG", "AVIF") and _frames(picture) > 1:
        raise UnreadablePictureError("it is animated: save the frame that you want as a picture")
    if min(picture.size) < 1:
        raise UnreadablePictureError("it has no pixels")
    if not _is_whole(data, picture.format or ""):
        read_upright(data)
    try:
        turned = picture.getexif().get(ORIENTATION) in TURNED
    except Exception:  # as `read_upright`: a picture whose EXIF is damaged is shown as it is
        turned = False
    width, height = picture.size
    return Header(height, width) if turned else Header(width, height)


def _frames(picture: Image.Image) -> int:
    try:
        return getattr(picture, "n_frames", 1)
    except Exception as error:
        raise UnreadablePictureError(str(error) or type(error).__name__) from None


def _is_whole(data: bytes, kind: str) -> bool:
    if kind in ("JPEG", "MPO"):
        return data.rfind(b"\xff\xd9") > _start_of_scan(data) > 0
    if kind == "PNG":
        return b"IEND\xaeB`\x82" in data[-1024:]
    if kind == "WEBP":
        return struct.unpack("<I", data[4:8])[0] + 8 <= len(data)
    return False


def _start_of_scan(data: bytes) -> int:
    """Where a JPEG's pixels begin: what a thumbnail in its header holds doesn't count. 0 if they don't."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return at
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0
