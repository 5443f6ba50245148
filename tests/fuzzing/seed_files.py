"""Pictures in the formats that are read and some that are not, and weights."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features
from safetensors.torch import save_file
from torch import nn

_MODES = {
    "png": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "jpeg": ("RGB", "L", "CMYK"),
    "bmp": ("RGB", "P", "1"),
    "gif": ("P", "L"),
    "tiff": ("RGB", "RGBA", "L", "I;16", "F", "CMYK", "1"),
    "webp": ("RGB", "RGBA"),
    "ppm": ("RGB", "L", "1"),
    "avif": ("RGB",),
    "tga": ("RGB",),
    "icns": ("RGBA",),
    "eps": ("RGB",),
}
_SIZE = (23, 17)


class Net(nn.Module):
    """What weights are loaded into."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 2)


def pictures(folder: Path) -> None:
    """One picture per format and mode; with EXIF, several frames and several compressions too."""
    Image.init()
    picture = noise(*_SIZE)
    for kind, modes in _MODES.items():
        for mode in modes:
            _picture(folder, kind, mode, picture)
    exif = Image.Exif()
    exif[0x0112] = 6
    _save(folder, "turned.jpeg", picture, "JPEG", exif=exif, progressive=True)
    _save(folder, "turned.png", picture, "PNG", exif=exif)
    _save(folder, "frames.gif", picture, "GIF", save_all=True, append_images=[picture.rotate(90)])
    _save(folder, "frames.png", picture, "PNG", save_all=True, append_images=[picture.rotate(90)])
    for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        if features.check("libtiff"):
            whole = picture.convert("1") if name == "group4" else picture
            _save(folder, f"{name}.tiff", whole, "TIFF", compression=name)
    _save(folder, "clear.png", picture.convert("P"), "PNG", transparency=3)


def noise(width: int, height: int) -> Image.Image:
    """The same noise each time."""
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def _picture(folder: Path, kind: str, mode: str, picture: Image.Image) -> None:
    if kind.upper() not in Image.SAVE:
        return
    if mode == "I;16":
        made = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        whole = picture.resize((16, 16)) if kind == "icns" else picture
        made = whole.convert(mode)
    _save(folder, f"{mode.replace(';', '')}.{kind}", made, kind.upper())


def _save(folder: Path, name: str, picture: Image.Image, kind: str, **options: object) -> None:
    place = folder / name.replace(".", "-")
    place.mkdir(parents=True)
    picture.save(place / "picture.bin", kind, **options)


def weights(folder: Path) -> None:
    """A small model's weights."""
    torch.manual_seed(0)
    state = Net().state_dict()
    half = {name: one.half() if one.is_floating_point() else one for name, one in state.items()}
    wrapped = {f"module.{name}": value for name, value in state.items()}
    for name, held in (("plain", state), ("half", half)):
        place = folder / f"{name}-safetensors"
        place.mkdir(parents=True)
        save_file(held, place / "weights.safetensors", {"format": "pt"})
    meta = {"meta": {"epoch": 3, "classes": ["a", "b"]}, "state_dict": wrapped}
    for name, saved in (("plain", state), ("checkpoint", {"state_dict": wrapped}), ("meta", meta)):
        place = folder / f"{name}-zip"
        place.mkdir(parents=True)
        torch.save(saved, place / "weights.pth")
    _old_format(folder / "old" / "weights.pth")


def _old_format(path: Path) -> None:
    """As PyTorch wrote before 1.6; tensors bear addresses in it, here always the same one."""
    path.parent.mkdir()
    state = {"last.bias": torch.zeros(2)}
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    address = rb"X....(\d{12,16})"
    same = b"X" + struct.pack("<I", 15) + b"123456789012345"
    path.write_bytes(re.sub(address, same, path.read_bytes(), flags=re.DOTALL))
