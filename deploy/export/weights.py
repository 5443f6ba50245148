"""Weights files to state dicts: PyTorch checkpoints, safetensors, and formats of single models."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copyfileobj
from typing import cast
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from backends.contract import DeployError
from backends.files import not_regular, temporary_folder
from backends.user_cache import cache_folder

State = dict[str, Tensor]
"""A state dict."""


Reader = Callable[[Path, nn.Module], State]
"""Reads a file of weights for a model, which gives the shapes."""


_UNPICKLING_ERRORS = (  # raised by torch's restricted unpickler on damaged or malicious files
    pickle.UnpicklingError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    ImportError,
)


_FAULT = "WeightsUnpickler error:"  # of torch's restricted unpickler, behind general advice


_REFUSED_OBJECT = re.compile(r"Unsupported global: GLOBAL (\S+)")


_ZIP_MAGIC = b"PK\3\4"


_MAX_NESTING = 10  # of a state dict under the key ``state_dict``


_SHOWN_KEYS = 5  # in an error text, per kind of mismatch


class WeightsError(DeployError):
    """A weights file that is missing, unreadable, or does not fit the model."""


def load_weights(model: nn.Module, path: Path, readers: Mapping[str, Reader]) -> None:
    """Load a weights file into the model: all keys, or none after an error.

    Args:
        model: the model, changed in place.
        path: a ``.pth`` or ``.pt`` checkpoint, ``.safetensors``, or a suffix in ``readers``.
        readers: further formats by suffix.

    Raises:
        WeightsError: the file is missing, unreadable, or has missing, unexpected or
            differently shaped keys.
    """
    state = _read(model, path, readers)
    expected = model.state_dict()
    state = _without_prefix(state, expected)
    _check_keys(path, state, expected)
    model.load_state_dict(state, strict=False)


def _read(model: nn.Module, path: Path, readers: Mapping[str, Reader]) -> State:
    by_suffix: dict[str, Reader] = {
        ".pth": _read_checkpoint,
        ".pt": _read_checkpoint,
        ".safetensors": _read_safetensors,
        **readers,
    }
    if got := not_regular(path):
        raise WeightsError(f"weights '{path}'", expected="a file", got=got)
    if path.suffix not in by_suffix:
        raise WeightsError(
            f"weights '{path}'",
            expected=f"a file ending in {', '.join(sorted(by_suffix))}",
            got=path.suffix or "no ending",
        )
    return by_suffix[path.suffix](path, model)


def _read_safetensors(path: Path, _: nn.Module) -> State:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"weights '{path}' is not a readable safetensors file: {error}"
        ) from error


def _read_checkpoint(path: Path, _: nn.Module) -> State:
    _check_uncompressed(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except _UNPICKLING_ERRORS as error:
        raise WeightsError(
            f"weights '{path}' is not a checkpoint that loads without running code: "
            f"{_unpickling_fault(error)}",
            do="Save its state_dict alone as .safetensors and pass that.",
        ) from error
    return _state_dict(path, loaded)


def _unpickling_fault(error: Exception) -> str:
    """What torch says of a file, without its advice to load it all the same."""
    text = str(error)
    refused = _REFUSED_OBJECT.search(text)
    if refused is not None:
        return f"beside tensors it holds {refused[1][:200]}"
    lines = [line.strip() for line in text.rpartition(_FAULT)[2].splitlines()]
    return next(filter(None, lines), type(error).__name__)


def _check_uncompressed(path: Path) -> None:
    """Refuse a zip whose members exceed the file: ``torch.save`` never compresses."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _ZIP_MAGIC:
                return  # torch.load decides by the same bytes
        with zipfile.ZipFile(path) as archive:
            sizes = [(member.compress_type, member.file_size) for member in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, LookupError) as error:
        raise WeightsError(f"weights '{path}' is a damaged zip: {error}") from error
    total = sum(size for _, size in sizes)
    if any(method != zipfile.ZIP_STORED for method, _ in sizes) or total > path.stat().st_size:
        raise WeightsError(
            f"weights '{path}'",
            expected="a checkpoint as torch.save writes it, not compressed",
            got=f"{total:,} bytes in a file of {path.stat().st_size:,}",
        )


def _state_dict(path: Path, loaded: object) -> State:
    for _ in range(_MAX_NESTING):  # bounded: a dict may contain itself
        if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
            loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"weights '{path}'", expected="a state dict", got=type(loaded).__name__)
    others = [str(key) for key, value in loaded.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(
            f"weights '{path}'",
            expected="a state dict of tensors",
            got=f"other values at {', '.join(others[:_SHOWN_KEYS])}",
        )
    return cast(State, loaded)


def _without_prefix(state: State, expected: Mapping[str, Tensor]) -> State:
    """Remove a common prefix of all keys, such as ``module.`` of a distributed run."""
    first = next(iter(expected), "")
    if not first or first in state:
        return state
    prefix = next((key[: -len(first)] for key in state if key.endswith("." + first)), "")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _check_keys(path: Path, state: State, expected: Mapping[str, Tensor]) -> None:
    counters = {
        key for key in expected if key.endswith("num_batches_tracked")
    }  # unused in inference
    problems = {
        "missing": sorted(expected.keys() - state.keys() - counters),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{key} {list(state[key].shape)} instead of {list(expected[key].shape)}"
            for key in expected.keys() & state.keys()
            if state[key].shape != expected[key].shape
        ],
    }
    mismatches = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in problems.items() if keys]
    if mismatches:
        raise WeightsError(
            f"weights '{path}'",
            expected=f"the model's {len(expected)} keys",
            got="; ".join(mismatches),
            do="Check model.params (classes, width, backbone) against the file.",
        )


def _first(keys: list[str]) -> str:
    return ", ".join(sorted(keys)[:_SHOWN_KEYS]) + (", ..." if len(keys) > _SHOWN_KEYS else "")


_TIMEOUT = 30.0  # seconds without any data


def local_file(weights: str, sha256: str | None) -> Path:
    """The weights as a local file, downloaded to the user's cache if they are a URL.

    Args:
        weights: a path, or an ``https`` URL.
        sha256: the expected SHA-256 or its first digits; required for a URL.

    Raises:
        WeightsError: the download fails, or the file has another hash.
    """
    if not weights.startswith("https://"):
        return Path(weights).expanduser()
    if not sha256:
        raise WeightsError(f"weights '{weights}' have no model.sha256 to check them against")
    target = cache_folder() / "weights" / Path(urlparse(weights).path).name
    if not target.is_file():
        _download(weights, sha256, target)
    return _verified(target, sha256)


def _download(url: str, sha256: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target.parent) as scratch:
        partial = scratch / target.name
        try:
            with (
                urllib.request.urlopen(url, timeout=_TIMEOUT) as source,
                partial.open("wb") as sink,
            ):
                copyfileobj(source, sink)
        except OSError as error:
            raise WeightsError(
                f"cannot download {url} ({_reason(error)})", do="Pass model.weights=FILE."
            ) from error
        _verified(partial, sha256).replace(target)


def _reason(error: OSError) -> str:
    return str(error.reason) if isinstance(error, urllib.error.URLError) else str(error)


def _verified(path: Path, sha256: str) -> Path:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if not got.startswith(sha256.lower()):
        raise WeightsError(
            f"weights '{path}'",
            expected=f"SHA-256 {sha256}",
            got=got,
            do="Delete the file to download it again.",
        )
    return path
