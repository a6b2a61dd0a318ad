"""Open a picture of a source: refuse what the device could not show, turn it upright, keep its bytes if possible."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from shelfgap_edge.errors import FrameError
from shelfgap_edge.image import decode_jpeg

_JPEG_START = b"\xff\xd8\xff"
_MOST_PIXELS = 100_000_000
_ORIENTATION_TAG = 0x0112
_REWRITE_QUALITY = 95
_KEPT_FORMATS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}
_EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"}


class PictureProblem(Exception):  # noqa: N818 - it becomes a rejection, not an error of the program
    """A picture that cannot be used.

    Attributes:
        reason: what is wrong.
        action: what its owner can do.
    """

    def __init__(self, reason: str, action: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.action = action


@dataclass(frozen=True)
class Picture:
    """A usable picture, upright.

    Attributes:
        data: the file to store: JPEG or PNG.
        suffix: `.jpg` or `.png`.
        size: (height, width) in pixels as displayed.
        stored_size: (height, width) in pixels before EXIF rotation.
        orientation: EXIF orientation that was applied, 1 to 8; 1 is none.
    """

    data: bytes
    suffix: str
    size: tuple[int, int]
    stored_size: tuple[int, int]
    orientation: int


def open_picture(source: Path | bytes) -> Picture:
    """Read, check and turn a picture upright, from a path or the bytes of a file.

    An upright JPEG or PNG keeps its bytes; a turned JPEG is written anew at quality 95, any other format as PNG.

    Raises:
        PictureProblem: not readable, not a picture, cut short, CMYK, more than 8 bits a channel, or too large.
    """
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise PictureProblem(f"cannot be read ({error.strerror})", "make the file readable") from None
    if not data:
        raise PictureProblem("an empty file", "copy the picture again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a bomb, or metadata that Pillow doubts
            with Image.open(io.BytesIO(data)) as image:
                return _accept(data, image)
    except PictureProblem:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        bomb = not isinstance(error, UnidentifiedImageError)
        reason = "too many pixels" if bomb else f"not a picture{_though(source)}"
        raise PictureProblem(reason, "replace or remove the file") from None
    except (OSError, SyntaxError, ValueError, EOFError, Warning, MemoryError) as error:
        text = " ".join(str(error).split())
        raise PictureProblem(f"damaged or cut short ({text})", "copy the picture again") from None


def _though(source: Path | bytes) -> str:
    return f", though its name ends in {source.suffix}" if isinstance(source, Path) else ""


def turn_box(
    xyxy: tuple[float, float, float, float], orientation: int, stored_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Carry a box from stored to displayed pixels.

    Args:
        xyxy: x1, y1, x2, y2 in pixels of the picture as stored.
        orientation: EXIF orientation, 1 to 8.
        stored_size: (height, width) in pixels.

    Source: EXIF 2.32 (CIPA DC-008), tag 0x0112.

    >>> turn_box((0, 0, 10, 20), 6, (100, 200))
    (80, 0, 100, 10)
    """
    height, width = stored_size
    x1, y1, x2, y2 = xyxy
    if orientation in (2, 3, 7, 8):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 6, 7):
        y1, y2 = height - y2, height - y1
    return (y1, x1, y2, x2) if orientation >= 5 else (x1, y1, x2, y2)


def _accept(data: bytes, image: Image.Image) -> Picture:
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise PictureProblem(f"{width}x{height} is more than {_MOST_PIXELS // 10**6} megapixels", "shrink it")
    if image.mode not in _EIGHT_BIT_MODES:
        kind = "a CMYK picture" if image.mode == "CMYK" else f"not 8 bits a channel (mode {image.mode})"
        raise PictureProblem(kind, "save it as 8-bit RGB")
    if image.format == "PNG" and data[24:25] == b"\x10":  # Pillow would cut 16-bit colour silently
        raise PictureProblem("16 bits a channel", "save it as 8-bit RGB")
    is_jpeg = data.startswith(_JPEG_START)
    if not is_jpeg:
        image.load()
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    shown = (width, height) if orientation >= 5 else (height, width)
    if is_jpeg:
        try:
            decode_jpeg(data, (height, width))
        except FrameError as error:
            raise PictureProblem(str(error), "copy the picture again, or save it as 8-bit RGB") from None
    suffix = _KEPT_FORMATS.get(image.format or "", ".png")
    if orientation != 1 or image.format not in _KEPT_FORMATS:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        stream = io.BytesIO()
        if suffix == ".jpg":
            upright.save(stream, "JPEG", quality=_REWRITE_QUALITY, subsampling=0)
        else:
            upright.save(stream, "PNG")
        data = stream.getvalue()
    return Picture(data, suffix, shown, (height, width), orientation)
