"""The picture's steps of handover.json."""

from math import floor
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

CHANNELS = {"red": 0, "green": 1, "blue": 2, "grey": 0}
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Place(NamedTuple):
    """Where a picture lies in the tensor."""

    width: int
    height: int
    scaled_width: int
    scaled_height: int
    left: int
    top: int

    def back(self, boxes):
        """Boxes (n, 4) in pixels of the tensor to pixels of the picture."""
        moved = boxes - np.array([self.left, self.top] * 2)
        scale = self.width / self.scaled_width, self.height / self.scaled_height
        return (moved * np.array(scale * 2)).astype(np.float32)


def prepare(facts, path):
    """The tensor of a picture, and where the picture lies in it."""
    numbers = facts["parameters"]
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    if facts["channels"] == ["grey"]:
        picture = picture.convert("L")
    place = placed(numbers, *picture.size)
    if picture.size != place[2:4]:
        picture = picture.resize(place[2:4], FILTERS[numbers["interpolation"]])
    pixels = np.asarray(picture).reshape(place.scaled_height, place.scaled_width, -1)
    pixels = pixels[:, :, [CHANNELS[name] for name in facts["channels"]]].astype(np.float32)
    values = (pixels - np.float32(numbers["mean"])) / np.float32(numbers["std"])
    tensor = np.empty((numbers["height"], numbers["width"], values.shape[2]), np.float32)
    tensor[:] = numbers["pad"]
    lay(values, tensor, place.left, place.top)
    if numbers["layout"] == "nchw":
        tensor = tensor.transpose(2, 0, 1)
    return np.ascontiguousarray(tensor[None], facts["dtype"]), place


def placed(numbers, width, height):
    """The scaled size of a picture, and its place."""
    rows, columns = numbers["height"], numbers["width"]
    if numbers["resize"] == "stretch":
        return Place(width, height, columns, rows, 0, 0)
    if numbers["resize"] == "crop":
        covered = numbers["cover"] or (rows, columns)
        scaled = cover(width, height, *covered)
    else:
        scale = min(rows / height, columns / width)
        scaled = (
            min(columns, max(1, round(width * scale))),
            min(rows, max(1, round(height * scale))),
        )
    if numbers["resize"] == "letterbox" and numbers["align"] == "corner":
        return Place(width, height, *scaled, 0, 0)
    return Place(width, height, *scaled, offset(columns, scaled[0]), offset(rows, scaled[1]))


def cover(width, height, rows, columns):
    """The size that covers rows and columns."""
    if width * rows <= height * columns:
        return columns, floor(columns * height / width)
    return floor(rows * width / height), rows


def offset(room, size):
    """Where one side begins; negative where it is cut off."""
    return floor((room - size) / 2) if size <= room else -round((size - room) / 2)


def lay(values, tensor, left, top):
    """Write what of the picture lies in the tensor."""
    rows = slice(max(0, top), min(tensor.shape[0], top + values.shape[0]))
    columns = slice(max(0, left), min(tensor.shape[1], left + values.shape[1]))
    tensor[rows, columns] = values[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
