"""Real samples of a model's inputs: pictures, drawn text, a synthesised voice, and its features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tests.field.model_list import FieldModel, Input

Array = npt.NDArray[Any]
Shape = Sequence[int]

ROOT = Path(__file__).resolve().parents[2]
SCENES = ROOT / "deploy/models/yolov3/demo/samples"
COUNT = 3
_RATE = 16_000
_WORDS = ("Deploy 2026", "chain of parts", "Segment 17")


def write_samples(model: FieldModel, folder: Path) -> None:
    """Write ``COUNT`` samples, a file each, with a value of every input."""
    folder.mkdir(exist_ok=True)
    for number in range(COUNT):
        np.savez(folder / f"{number}.npz", **sample(model, number))


def sample(model: FieldModel, number: int) -> dict[str, Array]:
    """The sample of this number: a value of each input."""
    return {name: _value(spec, number) for name, spec in model.inputs.items()}


def _value(spec: Input, number: int) -> Array:
    value = SAMPLES[spec.sample](spec, number, **spec.options)
    return np.ascontiguousarray(value, dtype=spec.dtype).reshape(spec.shape)


def _picture(
    spec: Input,
    number: int,
    mean: float = 0.0,
    std: float = 1.0,
    scale: float = 255.0,
    channels_last: bool = False,
) -> Array:
    """A scene of the demo, resized; ``(pixel / scale - mean) / std``."""
    height, width, channels = spec.shape[1:] if channels_last else (*spec.shape[2:], spec.shape[1])
    with Image.open(sorted(SCENES.glob("*.png"))[number]) as scene:
        picture = scene.convert("RGB" if channels == 3 else "L").resize((width, height))
    return _normalised(picture, mean, std, scale, channels_last)


def _text(
    spec: Input, number: int, mean: float = 0.0, std: float = 1.0, scale: float = 255.0
) -> Array:
    """A line of text, drawn dark on light; ``(pixel / scale - mean) / std``."""
    channels, height, width = spec.shape[1:]
    picture = Image.new("RGB" if channels == 3 else "L", (width, height), "white")
    font = ImageFont.load_default(size=min(int(height * 0.6), width // 8))
    text = _WORDS[number % len(_WORDS)]
    ImageDraw.Draw(picture).text((width // 20, height // 6), text, fill="black", font=font)
    return _normalised(picture, mean, std, scale, channels_last=False)


def _normalised(
    picture: Image.Image, mean: float, std: float, scale: float, channels_last: bool
) -> Array:
    values = (np.asarray(picture, np.float32) / scale - mean) / std
    if values.ndim == 2:
        values = values[..., None]
    return values if channels_last else values.transpose(2, 0, 1)


def _voice(spec: Input, number: int, scale: float = 1.0) -> Array:
    """A voice at 16 kHz: harmonics of a gliding pitch under two formants, in syllables."""
    return scale * voice(int(np.prod(spec.shape)), number).reshape(spec.shape)


def voice(length: int, number: int) -> Array:
    """Samples of the synthesised voice from -1 to 1."""
    seconds = np.arange(length) / _RATE
    pitch = 110 + 30 * number + 20 * np.sin(2 * np.pi * 1.5 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / _RATE
    formants = 500 + 300 * np.sin(2 * np.pi * 2 * seconds), 1500 + 400 * np.cos(np.pi * seconds)
    harmonics = sum(
        sum(np.exp(-(((k * pitch - formant) / 200) ** 2)) for formant in formants)
        * np.sin(k * phase)
        for k in range(1, 30)
    )
    syllables = np.clip(np.sin(2 * np.pi * 3 * seconds + number) + 0.3, 0, 1)
    breath = np.random.default_rng(number).normal(0, 0.003, length)
    return np.clip(0.3 * harmonics * syllables + breath, -1, 1)


def _spectrum(spec: Input, number: int, mean: float = 0.0, std: float = 1.0) -> Array:
    """Log magnitudes of the voice in the last two axes: frames by bins, or bins by frames."""
    *batch, frames, bins = spec.shape
    hop, window = 160, 2 * (bins + 1)
    planes = []
    for plane in range(int(np.prod(batch))):
        signal = voice(frames * hop + window, number + plane)
        starts = np.arange(frames)[:, None] * hop + np.arange(window)
        magnitudes = np.abs(np.fft.rfft(signal[starts] * np.hanning(window)))[:, :bins]
        planes.append((np.log10(magnitudes + 1e-4) - mean) / std)
    return np.stack(planes)


def _bins_first(spec: Input, number: int, **options: float) -> Array:
    turned = Input((*spec.shape[:-2], spec.shape[-1], spec.shape[-2]), spec.sample)
    return _spectrum(turned, number, **options).swapaxes(-1, -2)


def _spectrum_column(spec: Input, number: int, **options: float) -> Array:
    return _spectrum(Input(spec.shape[:-1], spec.sample), number, **options)


def _file_bytes(spec: Input, number: int, padding: int) -> Array:
    """First and last bytes of a source file of this project, as a file classifier reads them."""
    contents = sorted((ROOT / "deploy").glob("*.py"))[number].read_bytes()
    half = int(np.prod(spec.shape)) // 2
    first, last = contents[:half].ljust(half, b"\0"), contents[-half:].rjust(half, b"\0")
    values = np.frombuffer(first + last, np.uint8).astype(np.int32)
    values[len(contents) : half] = padding
    return values


def _whole_numbers(spec: Input, number: int) -> Array:
    low, high = (int(bound) for bound in spec.range or (0, 1))
    return np.random.default_rng(number).integers(low, high + 1, spec.shape)


def _noise(spec: Input, number: int) -> Array:
    generator = np.random.default_rng(number)
    if spec.range is None:
        return generator.standard_normal(spec.shape)
    return generator.uniform(*spec.range, spec.shape)


def _constant(spec: Input, number: int, value: float) -> Array:
    return np.full(spec.shape, value)


SAMPLES: Mapping[str, Callable[..., Array]] = {
    "picture": _picture,
    "text": _text,
    "voice": _voice,
    "spectrum": _spectrum,
    "spectrum_column": _spectrum_column,
    "bins_first": _bins_first,
    "file_bytes": _file_bytes,
    "whole_numbers": _whole_numbers,
    "noise": _noise,
    "constant": _constant,
}
