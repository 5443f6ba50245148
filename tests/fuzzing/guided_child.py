"""``python -m tests.fuzzing.guided_child KIND CORPUS ...``: the process that libFuzzer is in."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated

Mutator = Callable[[Draw, bytes, list[bytes]], bytes]
Reader = Callable[[bytes], None]

READERS: Mapping[str, str] = {
    "onnx": ".onnx",
    "ncnn": ".param",
    "manifest": "manifest.json",
    "archive": "",
}
"""The kinds, and which files of their seeds it begins with."""


def main() -> None:
    """Fuzz until the time is over, or something is found."""
    import atheris

    kind = sys.argv[1]
    with atheris.instrument_imports(include=["backends", "deploy", "tarfile", "zipfile"]):
        from backends.contract import DeployError

        reader = _MAKERS[kind]()
    mutator = _mutator(kind)

    def one(data: bytes) -> None:
        with suppress(DeployError):
            reader(data)

    def another(data: bytes, most: int, seed: int) -> bytes:
        """Every other time by the kind's own mutators."""
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutator(Draw(chance, [], Path("/outside")), data, [])[:most]

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one, custom_mutator=another)
    atheris.Fuzz()


def _mutator(kind: str) -> Mutator:
    """The kind's own; its module is imported late, for it imports what is to be instrumented."""
    from tests.fuzzing import members, params, protos, texts

    def archive(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
        try:
            return members.mutated_archive(draw, data, others)
        except Exception:  # noqa: BLE001 - Python's own reader cannot read every mutant
            return mutated(draw, data, others)

    mutators: Mapping[str, Mutator] = {
        "onnx": protos.mutated_model,
        "ncnn": params.mutated_param,
        "manifest": lambda draw, data, others: texts.mutated_json(draw, data),
        "archive": archive,
    }
    return mutators[kind]


def _manifest() -> Reader:
    from deploy.runtime.bundle.manifest import parse_manifest

    def read(data: bytes) -> None:
        parse_manifest(data, "fuzzed")

    return read


def _onnx() -> Reader:
    from backends.onnx.model_file import read_without_weights as read_skeleton

    folder = Path(tempfile.mkdtemp(prefix="guided-", dir=_memory()))

    def read(data: bytes) -> None:
        (folder / "model.onnx").write_bytes(data)
        read_skeleton(folder / "model.onnx", 16)

    return read


def _ncnn() -> Reader:
    from backends.contract import TensorSpec
    from backends.ncnn.checking import check_net

    folder = Path(tempfile.mkdtemp(prefix="guided-", dir=_memory()))
    param, weights = folder / "net.param", folder / "net.bin"
    weights.write_bytes(bytes(1 << 16))
    inputs = (TensorSpec("x", "float32", (1, 3, 8, 12)),)
    outputs = (TensorSpec("y", "float32", (1, 5, 8, 12)),)

    def read(data: bytes) -> None:
        param.write_bytes(data)
        check_net(param, weights, inputs, outputs, {"in0": 0, "out0": 0}, lambda kind: True)

    return read


def _archive() -> Reader:
    from deploy.runtime.bundle.archive import unpack

    folder = Path(tempfile.mkdtemp(prefix="guided-", dir=_memory()))

    def read(data: bytes) -> None:
        (folder / "bundle.bin").write_bytes(data)
        try:
            unpack(folder / "bundle.bin", folder / "bundle", 0.1)
        finally:
            shutil.rmtree(folder / "bundle", ignore_errors=True)

    return read


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


_MAKERS: Mapping[str, Callable[[], Reader]] = {
    "onnx": _onnx,
    "ncnn": _ncnn,
    "manifest": _manifest,
    "archive": _archive,
}

if __name__ == "__main__":
    main()
