"""The file of compiled kernels: written once, read by the next process, never trusted blindly."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from backends.contract import OptionError
from backends.conversion_files import write_artifact
from backends.options import parse_options
from backends.tensorrt_rtx import Options
from tests.helpers.graphs import conv, noise, relu

UNUSABLE = "is damaged, or of another engine, GPU or version; its kernels are compiled again"


def rows(count: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((count, 1024), np.float32)}


@pytest.fixture
def run_conv(convert_rtx, load_rtx, tmp_path, compiled_kernels) -> Callable[..., int]:
    """Loads and runs an engine with options, checks the values; how many kernels it compiled."""
    segment = conv(tmp_path / "conv.onnx")
    expected: list[np.ndarray] = []

    def run(**options: object) -> int:
        artifact, root = convert_rtx(segment, **options)
        before = len(compiled_kernels)
        with load_rtx(artifact, root) as runner:
            expected.append(runner(noise(segment))["net.out.0"])
        np.testing.assert_array_equal(expected[-1], expected[0])
        assert expected[0].any()
        return len(compiled_kernels) - before

    return run


@pytest.fixture
def cached_files(driver, tmp_path) -> Callable[[], list[Path]]:
    """This project's files in the user's cache folder."""
    folder = tmp_path / "cache" / "backend-chain"
    return lambda: sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_kernels_are_kept_for_the_engine_the_gpu_and_the_versions(run_conv, cached_files):
    assert run_conv() == 1
    (file,) = cached_files()
    assert file.parent.name == "kernels" and file.parent.parent.name == "backend-chain"
    digest, _, rest = file.name.partition("-")
    assert len(digest) == 16 and rest == "simulated-a-9.0-cuda-13.0-rtx-1.7.1.116"


def test_the_next_load_compiles_nothing_and_leaves_the_file_alone(run_conv, cached_files):
    run_conv()
    (file,) = cached_files()
    before = file.stat()
    assert run_conv() == 0
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_they_are_written_after_the_first_run_and_not_only_at_the_end(
    convert_rtx, load_rtx, cached_files, tmp_path
):
    artifact, root = convert_rtx(relu(tmp_path / "relu.onnx"))
    with load_rtx(artifact, root) as runner:
        assert cached_files() == []
        runner(rows(2))
        (file,) = cached_files()
        first = file.read_bytes()
        runner(rows(3))
        assert file.read_bytes() == first
    assert len(file.read_bytes()) > len(first)  # the kernels of the second shape, at the end


def test_without_special_kernels_a_new_shape_adds_nothing(
    convert_rtx, load_rtx, cached_files, tmp_path
):
    artifact, root = convert_rtx(relu(tmp_path / "relu.onnx"), dynamic_kernels="none")
    with load_rtx(artifact, root) as runner:
        runner(rows(2))
        (file,) = cached_files()
        first = file.read_bytes()
        runner(rows(3))
    assert file.read_bytes() == first


def test_each_engine_and_each_gpu_has_a_file_of_its_own(
    run_conv, convert_rtx, load_rtx, cached_files, tmp_path
):
    run_conv()
    run_conv(device=1)
    artifact, root = convert_rtx(relu(tmp_path / "relu.onnx"))
    with load_rtx(artifact, root) as runner:
        runner(rows(2))
    assert len(cached_files()) == 3


def test_an_engine_that_was_never_run_leaves_no_kernels(
    convert_rtx, load_rtx, cached_files, tmp_path
):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    with load_rtx(artifact, root):
        pass
    assert cached_files() == []


def test_off_keeps_none(run_conv, cached_files):
    assert run_conv(runtime_cache="off") == run_conv(runtime_cache="off") == 1
    assert cached_files() == []


def test_a_bundle_names_no_file_for_them():
    with pytest.raises(
        OptionError, match=r"'runtime_cache' of .*: expected auto\|off, got '/etc/x'"
    ):
        parse_options(Options, {"runtime_cache": "/etc/x"}, "tensorrt_rtx")


def changed_owner(data: bytes, *change: str) -> bytes:
    """A whole file that belongs to something else."""
    head, _, kernels = data.partition(b"\n")
    described = json.loads(head)
    described["owner"] = described["owner"].replace(*change)
    return json.dumps(described).encode() + b"\n" + kernels


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"garbage",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:-1] + b"?",
        lambda data: data.partition(b"\n")[2],
        lambda data: changed_owner(data, "Simulated A", "Simulated B"),
        lambda data: changed_owner(data, "9.0", "8.6"),
        lambda data: changed_owner(data, "rtx 1.7.1.116", "rtx 1.6.9.100"),
        lambda data: changed_owner(data, "cuda 13.0", "cuda 13.1"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_replaced(run_conv, cached_files, damage):
    run_conv()
    (file,) = cached_files()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match=f"runtime_cache '{file}' {UNUSABLE}"):
        assert run_conv() == 1
    assert cached_files() == [file] and file.read_bytes() == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_conv() == 0


@pytest.mark.parametrize("other", [{"device": 1}, {"level": 1, "tf32": True}])
def test_a_file_of_another_gpu_or_engine_is_named_and_replaced(run_conv, cached_files, other):
    assert run_conv() == 1
    (file,) = cached_files()
    assert run_conv(**other) == 1
    (others,) = {*cached_files()} - {file}
    others.write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match=UNUSABLE):
        assert run_conv(**other) == 1
    assert run_conv(**other) == 0


def test_kernels_that_nvidia_refuses_are_named_and_replaced(run_conv, cached_files, monkeypatch):
    import tensorrt_rtx_bindings as trt

    run_conv()
    (file,) = cached_files()
    with monkeypatch.context() as patch:
        patch.setattr(trt.IRuntimeCache, "deserialize", lambda *_: False)
        with pytest.warns(UserWarning, match=f"runtime_cache '{file}' {UNUSABLE}"):
            assert run_conv() == 1
    assert run_conv() == 0


def test_a_folder_that_cannot_be_written_is_a_warning_that_says_what_to_do(
    run_conv, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning) as caught:
        assert run_conv() == 1
    read, written = sorted({str(warning.message) for warning in caught})
    assert read.startswith(f"runtime_cache '{tmp_path}/file/backend-chain/kernels/")
    assert read.endswith("' cannot be read: Not a directory")
    assert written.endswith(
        "' cannot be written: Not a directory. Set XDG_CACHE_HOME to another folder, or pass "
        "runtime_cache=off"
    )


def test_a_folder_in_the_files_place_is_a_warning(run_conv, cached_files):
    run_conv()
    (file,) = cached_files()
    file.unlink()
    file.mkdir()
    with pytest.warns(UserWarning) as caught:
        assert run_conv() == 1
    texts = " ".join(str(warning.message) for warning in caught)
    assert "' cannot be read: Is a directory" in texts
    assert "' cannot be written: it is a folder" in texts
    assert list(file.iterdir()) == []


def test_a_user_without_a_home_is_a_warning(run_conv, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    message = (
        "runtime_cache: Could not determine home.*Set XDG_CACHE_HOME, or pass runtime_cache=off"
    )
    with pytest.warns(UserWarning, match=message):
        assert run_conv() == 1


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


RUN = """
import importlib
import sys
from pathlib import Path
from backends.conversion_files import read_artifact
from backends.tensorrt_rtx.run import load
from tests.helpers.graphs import conv, noise

root, scratch = Path(sys.argv[1]), Path(sys.argv[2])
segment = conv(scratch / f"{sys.argv[3]}.onnx")
print("ready", flush=True)
sys.stdin.readline()
artifact = read_artifact(root)
with load(artifact, root) as runner:
    total = float(runner(noise(segment))["net.out.0"].sum())
compiled = importlib.import_module("tensorrt_rtx_bindings._context_factory").compiled
print(len(compiled), total)
"""


@contextmanager
def waiting(root: Path, scratch: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that waits for a line before it loads the engine."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", RUN, str(root), str(scratch), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        yield child


def proceed(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def results(child: subprocess.Popen[str]) -> list[str]:
    """How many kernels a process has compiled, and the sum of its output."""
    found = child.communicate()[0].split()
    assert child.returncode == 0
    return found


def test_processes_share_the_file(convert_rtx, cached_files, tmp_path):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    write_artifact(root, artifact)
    with waiting(root, tmp_path, "one") as one, waiting(root, tmp_path, "two") as two:
        proceed(one)
        proceed(two)
        first, second = results(one), results(two)
    (file,) = cached_files()
    before = file.stat()
    with waiting(root, tmp_path, "three") as three:
        proceed(three)
        third = results(three)
    assert {first[0], second[0]} in ({"1"}, {"0", "1"})
    assert third[0] == "0" and first[1] == second[1] == third[1]
    assert file.stat().st_mtime_ns == before.st_mtime_ns
