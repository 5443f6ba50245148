"""Pictures: decoding into RGB, and the geometry between a picture and the input tensor."""

from __future__ import annotations

import inspect
import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from backends.contract import Array, DeployError
from backends.files import not_regular
from deploy.runtime.vision.geometry import Size
from deploy.runtime.vision.placement import Placement as Placement  # many import them from here
from deploy.runtime.vision.pre import Pre as Pre

Encoded = bytes | bytearray | memoryview | BinaryIO
"""A picture as its file holds it, in memory or from an opened file."""


@dataclass(frozen=True)
class Reduced:
    """A picture that was decoded at a part of its size.

    Attributes:
        image: in RGB.
        size: of the whole picture.
        box: the part of ``image`` that the picture fills, in its pixels: left, top, right, bottom.
            A last column or row may be filled in part.
    """

    image: Image.Image
    size: Size
    box: tuple[float, float, float, float]


Decoded = Image.Image | npt.NDArray[np.uint8] | Reduced


Picture = str | Path | Encoded | Decoded


_MOST_PIXELS = 178_956_970  # a header may declare any size; Pillow refuses more by itself


_LONGEST_PATH = 4096


_LONGEST_NAME = 255  # bytes of one name on common file systems


_MOST_BYTES = 256 << 20  # of an opened file, which may have no end


_CHUNK = 1 << 20


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:")


_FILE_NAME = re.compile(r"[^\x00-\x1f]*\.[A-Za-z][A-Za-z0-9]{0,7}")


_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # EPS would run Ghostscript


_ORIENTATION = 0x0112  # Exif tag
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height
_MIRRORED_X = (2, 3, 6, 7)  # those after which the last column is the first
_MIRRORED_Y = (3, 4, 7, 8)


_MARGIN = 2  # times the scaled picture, of which a reduced one is at least


_PLUGINS = (TiffImagePlugin, WebPImagePlugin)  # Pillow imports those of the other formats


_FAILURES = (  # what Pillow raises on damaged files
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)


class ImageError(DeployError):
    """A file or array that is not a picture, or cannot be decoded."""


def load_image(source: Picture) -> Array:
    """A picture as (H, W, 3) uint8, RGB; otherwise as ``decode``."""
    decoded = decode(source)
    if isinstance(decoded, Reduced):
        decoded = decoded.image
    return np.array(decoded) if isinstance(decoded, Image.Image) else decoded


def decode(source: Picture, scaled: Callable[[Size], Size] | None = None) -> Decoded:
    """A picture in RGB, as a Pillow image or an array (H, W, 3) of uint8, whichever needs no copy.

    Grey is repeated, palettes are resolved, 16 bits are scaled to 8, transparency is composited
    over white, and the orientation of Exif is applied.

    Args:
        source: a path, the bytes of a file, an opened binary file (read from where it is to its
            end), a Pillow image, or an array (H, W) or (H, W, 1|3|4) of uint8.
        scaled: the size to which a picture of a size is to be scaled. The file of a JPEG is then
            decoded at 1/2, 1/4 or 1/8 of its size, where that is at least twice as large.

    Raises:
        ImageError: no such file, not a picture, without pixels, truncated, or too large. Nothing
            of a source but a path is in the text.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Reduced):
        return source
    if isinstance(source, Image.Image):
        return _decoded("of Pillow", source)
    if isinstance(source, str | Path):
        return _from_path(source, scaled)
    data = read_encoded(source)
    return _decoded(f"of {len(data):,} bytes", io.BytesIO(data), scaled)


def read_encoded(source: Encoded) -> bytes:
    """The bytes of a picture's file.

    Raises:
        ImageError: the source is something else, a file for text, or does not end.
    """
    if isinstance(source, bytes):
        return source
    try:
        if isinstance(source, bytearray | memoryview):
            return bytes(source)
        if hasattr(source, "read"):
            return _read_to_end(source)
    except (OSError, ValueError, BufferError) as error:  # such as a closed file
        raise ImageError(f"picture cannot be read: {type(error).__name__}") from None
    raise ImageError(
        "picture",
        expected="a path, the bytes of a file, an opened file, a Pillow image or an array",
        got=type(source).__name__,
    )


def _read_to_end(file: BinaryIO) -> bytes:
    parts, size = [], 0
    while part := file.read(_CHUNK):
        if not isinstance(part, bytes | bytearray | memoryview):
            raise _not_binary(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise ImageError(
                "picture of an opened file", expected=f"at most {_MOST_BYTES:,} bytes", got="more"
            )
        parts.append(part)
    if part is None or isinstance(part, str):  # nothing there yet, or an empty file for text
        raise _not_binary(part)
    return b"".join(parts)


def _not_binary(part: object) -> ImageError:
    if inspect.iscoroutine(part):
        part.close()  # it would warn that nobody awaited it
        do = "Pass what 'await file.read()' returns."
    else:
        do = "Open the file with mode 'rb'."
    return ImageError("opened file", expected="bytes", got=type(part).__name__, do=do)


def _from_path(source: str | Path, scaled: Callable[[Size], Size] | None) -> Decoded:
    path, text = Path(source), str(source)
    if got := not_regular(path):
        if not isinstance(source, Path):
            refuse_other_text(text)
        elif not _is_short(text):
            raise _no_path(text)
        do = "Pipeline.stream takes folders." if got == "a folder" else ""
        raise ImageError(f"picture '{path}'", expected="a file", got=got, do=do)
    return _decoded(f"'{path}'", path, scaled)


def refuse_url(text: str) -> None:
    """Refuse a URL, which may hold a key and is not shown.

    Raises:
        ImageError: it is one.
    """
    if _URL.match(text):
        raise ImageError(
            "picture",
            expected="a file",
            got="a URL",
            do="Download it first: nothing is downloaded here.",
        )


def refuse_other_text(text: str) -> None:
    """Refuse a text that names nothing and does not look like a path: it may be a caller's data.

    Raises:
        ImageError: it is one, or a URL; the text is not shown.
    """
    refuse_url(text)
    if not os.path.lexists(text) and not (_FILE_NAME.fullmatch(text) and _is_short(text)):
        raise _no_path(text)


def _no_path(text: str) -> ImageError:
    got = f"a text of {len(text):,} characters that names none"
    return ImageError("picture", expected="the path of a file", got=got)


def _is_short(text: str) -> bool:
    names = text.encode(errors="surrogateescape").split(b"/")
    return len(text) <= _LONGEST_PATH and all(len(name) <= _LONGEST_NAME for name in names)


def _decoded(
    name: str,
    source: Path | io.BytesIO | Image.Image,
    scaled: Callable[[Size], Size] | None = None,
) -> Decoded:
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source)
        Image.preinit()  # else a PNG file makes Pillow load all of its plugins
        with Image.open(source, formats=_FORMATS) as image:
            _check_size(name, image)
            return _to_rgb(image) if scaled is None else _reduced(image, scaled)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture" if isinstance(source, Path) else f"picture {name}",
            expected=f"one of {', '.join(_FORMATS)}",
            got="another",
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"picture {name}", expected=f"at most {_MOST_PIXELS:,} pixels", got="more"
        ) from error
    except _FAILURES as error:
        # what plugins say of a file's content may quote it
        is_harmless = isinstance(error, OSError)
        reason = str(error) if is_harmless else type(error).__name__
        raise ImageError(f"picture {name} cannot be decoded: {reason}") from (
            error if is_harmless else None
        )


def _from_array(array: npt.NDArray[np.uint8]) -> Decoded:
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    has_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not has_shape or 0 in array.shape:
        raise ImageError(
            "picture array",
            expected="uint8 of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]",
            got=f"{array.dtype.name}{list(array.shape)}",
        )
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    return _to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))


def _reduced(image: Image.Image, scaled: Callable[[Size], Size]) -> Decoded:
    """The picture, decoded at a part of its size where its format can do that."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    is_turned = orientation in _TURNED
    whole = Size(*reversed(image.size)) if is_turned else Size(*image.size)
    wanted = [side * _MARGIN for side in scaled(whole)]
    drafted = image.draft(None, (wanted[1], wanted[0]) if is_turned else (wanted[0], wanted[1]))
    rgb = _to_rgb(image)
    if drafted is None or rgb.size == whole:
        return rgb
    _, _, *filled = drafted[1]
    width, height = reversed(filled) if is_turned else filled
    left = rgb.width - width if orientation in _MIRRORED_X else 0.0
    top = rgb.height - height if orientation in _MIRRORED_Y else 0.0
    return Reduced(rgb, whole, (left, top, left + width, top + height))


def _to_rgb(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise ImageError("picture", expected="pixels", got=f"{image.width} x {image.height}")
    if image.getexif().get(_ORIENTATION, 1) != 1:  # transposing copies any picture
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        image = _to_eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()
    return image


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16 bits per pixel to 8; Pillow's own conversion would clip instead of scale.

    Where a float is not finite, the picture is black.
    """
    values = np.asarray(image).astype(np.float64)
    values[~np.isfinite(values)] = 0
    scale = 1 if image.mode == "F" and values.max(initial=0) <= 255 else 257
    return Image.fromarray((values / scale).round().clip(0, 255).astype(np.uint8))


def _check_size(name: str, image: Image.Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        raise ImageError(
            f"picture {name}",
            expected=f"at most {_MOST_PIXELS:,} pixels",
            got=f"{image.width} x {image.height}",
        )
