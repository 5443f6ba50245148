"""Commands as a user types them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from backends import registry
from deploy.cli.main import run_command

BACKENDS = os.environ.get("DEPLOY_TEST_BACKENDS", ",".join(registry.names())).split(",")
QUICK = "bench.runs=2"


def python(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m`` with these words."""
    command = [sys.executable, "-m", *map(str, arguments)]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def done(*arguments: object, cwd: Path) -> str:
    """What a command printed that went well."""
    ended = python(*arguments, cwd=cwd)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def run_blame(bundle: Path, *words: str) -> NoReturn:
    """The command blame, in this process."""
    sys.exit(run_command("blame", [str(bundle), *words]))


def refused(*arguments: object, cwd: Path, **environment: str) -> str:
    """What a command said that was refused and left nothing."""
    before = files(cwd)
    ended = python(*arguments, cwd=cwd, **environment)
    assert ended.returncode not in (0, None), ended.stdout
    assert "Traceback" not in ended.stderr, ended.stderr
    assert files(cwd) == before, "something half-written was left"
    return ended.stderr


def files(folder: Path) -> list[Path]:
    """Everything below a folder but what Python itself leaves of modules that it has imported."""
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
