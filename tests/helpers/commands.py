"""Commands as a user types them."""

from __future__ import annotations

import importlib
import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn, TextIO
from unittest import mock

from backends import registry
from deploy.cli.main import run_command

BACKENDS = os.environ.get("DEPLOY_TEST_BACKENDS", ",".join(registry.names())).split(",")
QUICK = "bench.runs=2"
Completed = subprocess.CompletedProcess[str]
_ROOT = Path(__file__).parents[2]


def run_process(*arguments: object, cwd: Path, **environment: str) -> Completed:
    """``python -m`` with these words, in a process of its own."""
    command = [sys.executable, "-m", *map(str, arguments)]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def run_here(module: str, *arguments: object, cwd: Path, **environment: str) -> Completed:
    """``python -m`` with these words, in this process: torch is not imported again.

    The command sees the modules, paths, environment and signal handlers of a new process, and what
    it changes of them is undone.
    """
    words = [module, *map(str, arguments)]
    with ExitStack() as stack:
        stack.enter_context(_own_interpreter_state(words, cwd, environment))
        stdout, stderr = (stack.enter_context(_captured(number)) for number in (1, 2))
        code = _exit_code(module)
        sys.stdout.flush()
        sys.stderr.flush()
        return subprocess.CompletedProcess(words, code, _text(stdout), _text(stderr))


def output_of(*arguments: object, cwd: Path) -> str:
    """What a command printed that went well."""
    ended = run_here(*map(str, arguments), cwd=cwd)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def run_blame(bundle: Path, *words: str) -> NoReturn:
    """The command blame, in this process."""
    sys.exit(run_command("blame", [str(bundle), *words]))


def error_of(*arguments: object, cwd: Path, **environment: str) -> str:
    """What a command said that was refused and left nothing."""
    before = files(cwd)
    ended = run_here(*map(str, arguments), cwd=cwd, **environment)
    assert ended.returncode not in (0, None), ended.stdout
    assert "Traceback" not in ended.stderr, ended.stderr
    assert files(cwd) == before, "something half-written was left"
    return ended.stderr


def files(folder: Path) -> list[Path]:
    """Everything below a folder but what Python itself leaves of modules that it has imported."""
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def _exit_code(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exit_:
        if exit_.code is None or isinstance(exit_.code, int):
            return exit_.code or 0
        print(exit_.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _own_interpreter_state(
    words: list[str], cwd: Path, environment: dict[str, str]
) -> Iterator[None]:
    modules, here = dict(sys.modules), Path.cwd()
    handlers = list(logging.root.handlers)
    handled = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for name in modules:
        # a new process has imported none of them
        if name.partition(".")[0] == "tests" or name.endswith(".__main__"):
            del sys.modules[name]
    with (
        mock.patch.object(sys, "argv", list(words)),
        mock.patch.object(sys, "path", [str(cwd), *sys.path]),
        mock.patch.dict(os.environ, environment),
    ):
        os.chdir(cwd)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            os.chdir(here)
            for number, handler in handled.items():
                signal.signal(number, handler)
            logging.root.handlers[:] = handlers
            _forget_hydra()
            for name in [*sys.modules]:
                if name not in modules and not _is_installed(name):
                    del sys.modules[name]
            sys.modules.update(modules)


def _forget_hydra() -> None:
    """What a command has left in Hydra, which a device has not."""
    if "hydra" in sys.modules:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None


def _is_installed(name: str) -> bool:
    """Whether a module is no user's: C extensions, for one, cannot be imported twice."""
    origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
    if origin is None or origin in ("built-in", "frozen"):
        return True
    path = Path(origin)
    return (
        path.is_relative_to(sys.prefix)
        or path.is_relative_to(sys.base_prefix)
        or (path.is_relative_to(_ROOT) and not path.is_relative_to(_ROOT / "tests"))
        or path.is_relative_to(_ROOT / "tests" / "simulator" / "site")
    )


@contextmanager
def _captured(number: int) -> Iterator[TextIO]:
    """A file that a standard stream goes into, of Python and of the libraries below it."""
    name = {1: "stdout", 2: "stderr"}[number]
    getattr(sys, name).flush()
    with tempfile.TemporaryFile() as raw, os.fdopen(os.dup(number), "wb") as saved:
        os.dup2(raw.fileno(), number)
        stream = io.TextIOWrapper(os.fdopen(os.dup(number), "wb"), "utf-8", line_buffering=True)
        try:
            with mock.patch.object(sys, name, stream):
                yield io.TextIOWrapper(raw, "utf-8")
        finally:
            stream.close()
            os.dup2(saved.fileno(), number)


def _text(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()
