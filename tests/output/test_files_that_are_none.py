"""A FIFO, a device, a socket, a folder or a file without end in the place of a file: no hang."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.contract import DeployError
from backends.convert_cli import main as convert
from backends.files import atomic_write, not_regular, write_text
from backends.onnx.model_file import read_without_weights
from deploy.analysis.accuracy.records import read_metrics
from deploy.pipeline.build_record import read_build_record
from deploy.runtime.accuracy.coco import CocoDataset
from deploy.runtime.bundle.archive import open_members
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.signing import private_key, read_signed
from deploy.runtime.vision.image import load_image
from tests.helpers import graphs
from tests.output.hostile import program_environment

_SECONDS = 20


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Interrupt what waits for ever, and fail the test."""

    def interrupt(*_: object) -> None:
        pytest.fail(f"this took {_SECONDS} seconds")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def unix_socket(path: Path) -> Path:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(here)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def ring_of_links(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


KINDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "FIFO": (fifo, "a FIFO"),
    "socket": (unix_socket, "a socket"),
    "folder": (folder, "a folder"),
    "device": (device, "a device"),
    "ring": (ring_of_links, "links"),
}


def open_archive(path: Path) -> None:
    with open_members(path):
        pass


def load_weights_file(path: Path) -> None:
    from torch import nn

    from deploy.export.weights import load_weights

    load_weights(nn.Linear(1, 1), path, {})


def convert_with_sample(path: Path) -> None:
    segment = graphs.conv(path.with_name("net.onnx"))
    words = [str(segment.onnx), str(path.with_name("out")), "--sample", str(path)]
    convert("onnxruntime", words)


def _work_folder_with(path: Path) -> Path:
    """A bundle, whose work folder has this in the place of its build record."""
    work = path.with_name("bundle.work")
    work.mkdir()
    path.rename(work / path.name)
    return path.with_name("bundle")


READERS: dict[str, Callable[[Path], object]] = {
    "picture": load_image,
    "private key": private_key,
    "data set": CocoDataset,
    "archive": open_archive,
    "model.onnx": read_without_weights,
    "weights.safetensors": load_weights_file,
    "weights.pth": load_weights_file,
    "sample.npz": convert_with_sample,
    "blame.json": lambda path: read_metrics(path, ""),
    "made.json": lambda path: read_build_record(_work_folder_with(path)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_refused_by_its_kind_wherever_a_file_is_named(reader, kind, tmp_path):
    make, word = KINDS[kind]
    path = make(tmp_path / reader)
    with pytest.raises((DeployError, SystemExit)) as refused:
        READERS[reader](path)
    assert word in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_key_is_refused_likewise(kind, make_bundle, tmp_path):
    make, word = KINDS[kind]
    with pytest.raises(DeployError, match=word):
        read_signed(make_bundle(), make(tmp_path / "key.pub"))


def test_a_key_without_end_is_not_read_to_it(tmp_path):
    with (tmp_path / "key").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DeployError, match="expected at most 16,384 bytes, got more"):
        private_key(tmp_path / "key")


def test_a_key_of_a_process_substitution_is_refused_with_what_to_do(make_bundle):
    words = f"deploy.runtime check '{make_bundle()}' --require-signature <(sleep 60 2>&1)"
    ended = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m {words}"],
        env=program_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "expected a regular file, got a FIFO. Save the key into a file first." in ended.stderr


@pytest.mark.parametrize("kind", ["FIFO", "socket", "folder", "device"])
def test_nothing_but_a_file_is_replaced_by_a_result(kind, tmp_path):
    make, word = KINDS[kind]
    path = make(tmp_path / "result.json")
    with pytest.raises(DeployError, match=f"cannot be written: it is {word}"):
        write_text(str(path), "{}")
    assert not_regular(path) == word
    with atomic_write(tmp_path / "new.json") as part:
        part.write_text("{}")
    assert (tmp_path / "new.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["manifest.sig", "manifest.json", "one/factor.txt", "extra"])
def test_a_fifo_in_a_bundle_is_refused(name, make_bundle):
    bundle = make_bundle()
    (bundle / name).unlink(missing_ok=True)
    fifo(bundle / name)
    with pytest.raises(DeployError, match=r"a FIFO|is not in its manifest"):
        verify_all(bundle, read_manifest(bundle))
