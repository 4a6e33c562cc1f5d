"""A picture's size from its header, and whether its bytes are all there, without decoding it."""

import io
import struct

from PIL import Image, UnidentifiedImageError

from sanaflow.images.decode import FORMATS, UnreadablePictureError, read_upright

ORIENTATION = 0x0112
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 1 << 26
TOO_LARGE = f"more than {MOST_PIXELS:,} pixels: make it smaller"
TURNED = (5, 6, 7, 8)
"""EXIF orientations in which width and height change places."""


def read_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as a viewer shows the picture, after a check that its end is there.

    JPEG, PNG and WebP say where they end. Of other formats, and of those whose end looks wrong, all pixels are read.

    Raises:
        UnreadablePictureError: No picture, animated, cut short, or of more pixels than Pillow thinks safe.
    """
    if not data:
        raise UnreadablePictureError("the file is empty")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, SyntaxError):
        raise UnreadablePictureError("not a picture that can be read") from None
    except Image.DecompressionBombError:
        raise UnreadablePictureError(TOO_LARGE) from None
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise UnreadablePictureError(str(error) or type(error).__name__) from None
    if picture.format in ("GIF", "WEBP", "PNG", "AVIF") and _frames(picture) > 1:
        raise UnreadablePictureError("it is animated: save the frame that you want as a picture")
    if picture.width * picture.height > MOST_PIXELS:
        raise UnreadablePictureError(TOO_LARGE)
    if min(picture.size) < 1:
        raise UnreadablePictureError("it has no pixels")
    if not _is_whole(data, picture.format or ""):
        read_upright(data)
    try:
        turned = picture.getexif().get(ORIENTATION) in TURNED
    except Exception:  # as `read_upright`: a picture whose EXIF is damaged is shown as it is
        turned = False
    width, height = picture.size
    return (height, width) if turned else (width, height)


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
