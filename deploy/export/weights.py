"""Weights files into state dicts: OpenMMLab checkpoints, safetensors, and a model's own formats."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import tempfile
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

State = dict[str, Tensor]


Reader = Callable[[Path, nn.Module], State]


_FAULTS = (  # what a damaged or hostile pickle makes torch's restricted unpickler raise
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


_ZIP = b"PK\3\4"


_WRAPPED = 10  # times that a state dict may lie in another one


_SHOWN = 5  # keys listed per kind of disagreement


class WeightsError(DeployError):
    """A weights file that is missing, unreadable, or of another model."""


def load_weights(model: nn.Module, path: Path, readers: Mapping[str, Reader]) -> None:
    """Load a weights file into the model, every key or none.

    Args:
        model: receives the weights in place.
        path: a ``.pth``/``.pt`` checkpoint, ``.safetensors``, or a suffix that ``readers`` knows.
        readers: further formats by suffix.

    Raises:
        WeightsError: the file is missing, unreadable, or has missing, unexpected or
            differently shaped keys.
    """
    state = _read(model, path, readers)
    wanted = model.state_dict()
    state = _without_prefix(state, wanted)
    _check_keys(path, state, wanted)
    model.load_state_dict(state, strict=False)


def _read(model: nn.Module, path: Path, readers: Mapping[str, Reader]) -> State:
    known: dict[str, Reader] = {
        ".pth": _read_checkpoint,
        ".pt": _read_checkpoint,
        ".safetensors": _read_safetensors,
        **readers,
    }
    if not path.is_file():
        raise WeightsError(
            f"weights '{path}'", expected="a file", got="a folder" if path.is_dir() else "nothing"
        )
    if path.suffix not in known:
        raise WeightsError(
            f"weights '{path}'",
            expected=f"a file ending in {', '.join(sorted(known))}",
            got=path.suffix or "no ending",
        )
    return known[path.suffix](path, model)


def _read_safetensors(path: Path, _: nn.Module) -> State:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"weights '{path}' is not a readable safetensors file: {error}"
        ) from error


def _read_checkpoint(path: Path, _: nn.Module) -> State:
    _check_members(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except _FAULTS as error:
        raise WeightsError(
            f"weights '{path}' is not a checkpoint that loads without running code: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}",
            do="Save its state_dict alone as .safetensors and pass that.",
        ) from error
    return _unwrapped(path, loaded)


def _check_members(path: Path) -> None:
    """Refuse a checkpoint that would be larger unpacked: torch packs without compression."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _ZIP:
                return  # torch tells by the same
        with zipfile.ZipFile(path) as archive:
            sizes = [(one.compress_type, one.file_size) for one in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, LookupError) as error:
        raise WeightsError(f"weights '{path}' is a damaged zip: {error}") from error
    total = sum(size for _, size in sizes)
    if any(kind != zipfile.ZIP_STORED for kind, _ in sizes) or total > path.stat().st_size:
        raise WeightsError(
            f"weights '{path}'",
            expected="a checkpoint as torch.save writes it, not compressed",
            got=f"{total:,} bytes in a file of {path.stat().st_size:,}",
        )


def _unwrapped(path: Path, loaded: object) -> State:
    for _ in range(_WRAPPED):  # one that holds itself would go on for ever
        if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
            loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"weights '{path}'", expected="a state dict", got=type(loaded).__name__)
    strangers = [str(key) for key, value in loaded.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError(
            f"weights '{path}'",
            expected="a state dict of tensors",
            got=f"other values at {', '.join(strangers[:_SHOWN])}",
        )
    return cast(State, loaded)


def _without_prefix(state: State, wanted: Mapping[str, Tensor]) -> State:
    """Drop what wraps every key, such as ``module.`` of a distributed run."""
    first = next(iter(wanted), "")
    if not first or first in state:
        return state
    prefix = next((key[: -len(first)] for key in state if key.endswith("." + first)), "")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _check_keys(path: Path, state: State, wanted: Mapping[str, Tensor]) -> None:
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}  # training only
    problems = {
        "missing": sorted(wanted.keys() - state.keys() - counters),
        "unexpected": sorted(state.keys() - wanted.keys()),
        "of another shape": [
            f"{key} {list(state[key].shape)} instead of {list(wanted[key].shape)}"
            for key in wanted.keys() & state.keys()
            if state[key].shape != wanted[key].shape
        ],
    }
    found = [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in problems.items() if keys]
    if found:
        raise WeightsError(
            f"weights '{path}'",
            expected=f"the model's {len(wanted)} keys",
            got="; ".join(found),
            do="Check model.params (classes, width, backbone) against the file.",
        )


def _some(keys: list[str]) -> str:
    return ", ".join(sorted(keys)[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")


_TIMEOUT = 30.0  # seconds without a byte


def local_file(weights: str, sha256: str | None) -> Path:
    """The weights as a file of this machine.

    Args:
        weights: a path, or an ``https`` address.
        sha256: the expected SHA-256 or its first digits; required for an address.

    Raises:
        WeightsError: no network, or a file of another hash.
    """
    if not weights.startswith("https://"):
        return Path(weights).expanduser()
    if not sha256:
        raise WeightsError(f"weights '{weights}' have no model.sha256 to check them against")
    target = _weights_cache() / Path(urlparse(weights).path).name
    if not target.is_file():
        _download(weights, sha256, target)
    return _verified(target, sha256)


def _weights_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backend-chain" / "weights"


def _download(url: str, sha256: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        part = Path(scratch) / target.name
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as source, part.open("wb") as sink:
                copyfileobj(source, sink)
        except OSError as error:
            raise WeightsError(
                f"cannot download {url} ({_reason(error)})", do="Pass model.weights=FILE."
            ) from error
        _verified(part, sha256).replace(target)


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
