"""A command in a process of its own: a fork of this one, or a new interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

_ROOT = Path(__file__).resolve().parents[2]
_MAINS = {"deploy": "deploy.cli.main", "deploy.runtime": "deploy.runtime.__main__"}
_STEP = 0.005
_LIBRARIES = (
    "deploy.cli.app", "deploy.pipeline.job", "deploy.runtime.pipeline",
    "deploy.runtime.commands.eval",
    "deploy.runtime.engine_build", "deploy.runtime.tuning.search",
    "deploy.runtime.accuracy.evaluation",
    "torch._dynamo", "torch.onnx", "torch.onnx._internal.exporter._core", "onnxruntime",
    "deploy.models.yolov3.build", "deploy.models.yolov3.post",
)  # fmt: skip


class Started:
    """A process, with what ``subprocess.Popen`` has that is needed here."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.returncode: int | None = None

    def wait(self, seconds: float = 600.0) -> int:
        """Its code; a signal's number is negative.

        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        end = time.monotonic() + seconds
        while self.returncode is None:
            process, status = os.waitpid(self._process, os.WNOHANG)
            if process:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("command", seconds)
            else:
                time.sleep(_STEP)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if it has not ended."""
        if self.returncode is None:
            os.kill(self._process, number)


def load_libraries() -> None:
    """Import what every fork then has, so that strikes fall into work rather than into imports."""
    for name in _LIBRARIES:
        import_module(name)
    import_module("torch").set_num_threads(1)  # threads do not survive a fork


def forked(folder: Path, module: str, words: Sequence[str], **more: str) -> Started:
    """Start a command as a fork, in a folder that is also its home."""
    environment = _environment(folder, more)
    process = os.fork()
    if not process:
        _be(folder, environment, lambda: import_module(_MAINS[module]).main(), [module, *words])
    return Started(process)


def new_interpreter(folder: Path, module: str, words: Sequence[str], **more: str) -> Started:
    """Start a command as a user does."""
    environment = _environment(folder, more)
    process = os.fork()
    if not process:
        command = [sys.executable, "-m", module, *words]
        _be(folder, environment, lambda: os.execve(command[0], command, environment), command)
    return Started(process)


def _environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{folder}"}
    environment |= {"XDG_CACHE_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    return environment | {"OMP_NUM_THREADS": "1"} | more


def _be(
    folder: Path, environment: Mapping[str, str], act: Callable[[], object], words: list[str]
) -> NoReturn:
    """Be the child, and end as an interpreter does after an error or an interruption."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for file, standard in ((null, 0), (log, 1), (log, 2)):
            os.dup2(file, standard)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False, buffering=1) for n in (1, 2))  # noqa: SIM115
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ |= environment
        tempfile.tempdir = None
        sys.argv[:], code = words, 0
        sys.path.append(str(folder))
        act()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)
