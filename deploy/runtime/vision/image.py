"""Pictures: decoding into RGB, and the geometry between a picture and the input tensor."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from backends.contract import Array, DeployError
from backends.files import not_regular
from deploy.runtime.vision.placement import Placement as Placement  # many import them from here
from deploy.runtime.vision.pre import Pre as Pre

Picture = str | Path | Image.Image | npt.NDArray[np.uint8]


Decoded = Image.Image | npt.NDArray[np.uint8]


_MOST_PIXELS = 178_956_970  # a header may declare any size; Pillow refuses more by itself


_LONGEST_PATH = 4096


_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # EPS would run Ghostscript


_ORIENTATION = 0x0112  # Exif tag


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
    return np.array(decoded) if isinstance(decoded, Image.Image) else decoded


def decode(source: Picture) -> Decoded:
    """A picture in RGB, as a Pillow image or an array (H, W, 3) of uint8, whichever needs no copy.

    Grey is repeated, palettes are resolved, 16 bits are scaled to 8, transparency is composited
    over white, and the orientation of Exif is applied.

    Args:
        source: a path, a Pillow image, or an array (H, W) or (H, W, 1|3|4) of uint8.

    Raises:
        ImageError: no such file, not a picture, without pixels, truncated, or too large.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if not isinstance(source, str | Path | Image.Image):
        raise ImageError(
            "picture", expected="a path, a Pillow image or an array", got=type(source).__name__
        )
    name = "of Pillow" if isinstance(source, Image.Image) else _shown(str(source))
    try:
        return _to_rgb(source) if isinstance(source, Image.Image) else _from_file(Path(source))
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture", expected=f"one of {', '.join(_FORMATS)}", got="another"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"picture {name}", expected=f"at most {_MOST_PIXELS:,} pixels", got="more"
        ) from error
    except _FAILURES as error:
        # what plugins say of a file's content may quote it
        is_harmless = isinstance(error, OSError) or isinstance(source, Image.Image)
        reason = str(error) if is_harmless else type(error).__name__
        raise ImageError(f"picture {name} cannot be decoded: {reason}") from error


def _shown(path: str) -> str:
    """A path, or the length of what is none but the picture itself."""
    return f"'{path}'" if len(path) <= _LONGEST_PATH else f"of {len(path):,} characters"


def _from_array(array: npt.NDArray[np.uint8]) -> Decoded:
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    has_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not has_shape or 0 in array.shape:
        raise ImageError(
            "picture array",
            expected="uint8 of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]",
            got=f"{array.dtype}{list(array.shape)}",
        )
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    return _to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))


def _from_file(path: Path) -> Image.Image:
    if got := not_regular(path):
        raise ImageError(f"picture {_shown(str(path))}", expected="a file", got=got)
    with Image.open(path, formats=_FORMATS) as image:
        _check_size(path, image)
        return _to_rgb(image)


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


def _check_size(path: Path, image: Image.Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        raise ImageError(
            f"picture '{path}'",
            expected=f"at most {_MOST_PIXELS:,} pixels",
            got=f"{image.width} x {image.height}",
        )
