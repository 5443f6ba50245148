"""NVIDIA's own Python bindings, which our calls are checked against.

Those of TensorRT import over libraries that only have the right names, so that their types can be
listed; those of TensorRT for RTX are installed. What is made lies in ``bindings/`` of the virtual
environment, where a second run finds it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

from tests.backends.tensorrt.stubs import mended

VERSIONS = ("10.16.1.11", "11.4.0.106")
JETPACK_6 = "10.3.0"  # what Jetson boards have
RTX = "rtx"  # in the place of a version: TensorRT for RTX, as it is installed
_MODULE = "tensorrt_bindings"
_RTX_MODULE = "tensorrt_rtx_bindings"
_INSTALLED = sysconfig.get_path("purelib")
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getInferLibVersion",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
# where our code looks for the module; the package that NVIDIA puts there only passes it on
_PACKAGE = "from {0} import *\nfrom {0} import __version__ as __version__\n"
_MYPY = """
[mypy]
strict = true
python_version = 3.11
[mypy-tensorrt.*,tensorrt_bindings.*,tensorrt_rtx_bindings.*]
ignore_errors = true
[mypy-backends.nvidia.bindings]
disallow_subclassing_any = false
[mypy-pycuda.*,google.protobuf.*,tensorrt_rtx_bindings.*]
ignore_missing_imports = true
"""


def run_with_bindings(version: str, code: str) -> str:
    """What a program prints in which the module of this version is NVIDIA's."""
    return _bound(_folder(version), version, "-c", code)


def stub_files(version: str) -> list[Path]:
    """The types of NVIDIA's module."""
    return sorted((_folder(version) / "stubs" / _module(version)).glob("*.pyi"))


def mypy(version: str, files: Sequence[Path]) -> list[str]:
    """What mypy says about files that import ``tensorrt``, errors only."""
    folder = _folder(version)
    cache = ("--cache-dir", str(folder / "mypy"), "--config-file", str(folder / "mypy.ini"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *cache, "--no-error-summary", *map(str, files)],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(folder / "stubs"), "PYTHONPATH": ""},
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def rtx_version() -> str:
    """The version of TensorRT for RTX that is installed, and no double."""
    named = distributions(name="tensorrt-rtx-cu13-bindings", path=[_INSTALLED])
    return next(iter(named)).version


def _module(version: str) -> str:
    return _RTX_MODULE if version == RTX else _MODULE


def _folder(version: str) -> Path:
    """Everything of a version; made once, whatever else runs at the same time."""
    folder = Path(sys.prefix) / "bindings" / (rtx_version() if version == RTX else version)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not (folder / "raw").is_dir():
            if version != RTX:
                _download(folder, version)
                _compile(folder, version)
            _list_types(folder, version)
        for name, text in _texts(folder, _module(version)):
            _write(folder / name, text)
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(folder: Path, version: str) -> None:
    cuda = "cu12" if version == JETPACK_6 else "cu13"
    _python("-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder),
            f"tensorrt-{cuda}-bindings=={version}")  # fmt: skip
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "wheel")
    (folder / "wheel" / "tensorrt").mkdir(exist_ok=True)
    (folder / "wheel" / "tensorrt" / "__init__.py").write_text(_PACKAGE.format(_MODULE))


def _compile(folder: Path, version: str) -> None:
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    for library in _LIBRARIES:
        target = folder / f"lib{library}.so.{version.split('.')[0]}"
        subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(target)], check=True)


def _list_types(folder: Path, version: str) -> None:
    part = folder / "raw.part"
    _bound(folder, version, "-m", "pybind11_stubgen", "--print-invalid-expressions-as-is",
           "--output-dir", str(part), _module(version))  # fmt: skip
    part.rename(folder / "raw")


def _texts(folder: Path, module: str) -> Iterator[tuple[str, str]]:
    yield "mypy.ini", _MYPY
    # what is shared between the products imports this name, whichever product it is for
    yield "stubs/tensorrt/__init__.pyi", _PACKAGE.format(module)
    for path in sorted((folder / "raw" / module).glob("*.pyi")):
        yield f"stubs/{module}/{path.name}", mended(path.read_text())


def _write(path: Path, text: str) -> None:
    """Leave what is the same already alone, for mypy's cache."""
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _bound(folder: Path, version: str, *arguments: str) -> str:
    if version == RTX:
        return _python(*arguments, PYTHONPATH="")
    return _python(*arguments, LD_LIBRARY_PATH=str(folder), PYTHONPATH=str(folder / "wheel"))


def _python(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
