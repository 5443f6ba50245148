"""Tasks in child processes: several in each, and a crash or a timeout costs one of them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from backends.codec import from_json, to_json
from backends.process.child import Limits, run_limited
from tests.parsersuite.child import REAL
from tests.parsersuite.outcome import Outcome, Task

ROOT = Path(__file__).resolve().parents[2]
_SIMULATOR = str(ROOT / "tests" / "simulator")
_START = 120  # seconds for a process to import its libraries
_ALARM = "signal SIGALRM"
_TAIL = 300  # characters of a crashed process's last words


def outcomes(
    tasks: Sequence[Task], seconds: int = 120, size: int = 20, module: str = REAL
) -> Iterator[Outcome]:
    """The outcome of each task, in their order.

    Args:
        tasks: what to parse and build.
        seconds: for one task.
        size: the most tasks of one process.
        module: the library to ask.
    """
    pending = list(tasks)
    while pending:
        answered = _answered(pending[:size], seconds, module)
        yield from answered
        pending = pending[len(answered) :]


def environment(module: str = REAL) -> list[str]:
    """The variables of a child: the real library must find neither doubles nor their driver."""
    paths = [str(ROOT), *_without_simulator("PYTHONPATH")]
    libraries = _without_simulator("LD_LIBRARY_PATH")
    return [f"PYTHONPATH={os.pathsep.join(paths)}", f"LD_LIBRARY_PATH={os.pathsep.join(libraries)}"]


def check_real() -> None:
    """Refuse to start where the library is missing, or a double of it would be asked.

    Raises:
        SystemExit: with what to do.
    """
    found = find_spec(REAL)
    origin = str(found.origin) if found is not None else ""
    if not origin or origin.startswith(_SIMULATOR):
        raise SystemExit(
            f"error: {REAL}: expected NVIDIA's library, got {origin or 'nothing'}. Install the "
            "extra tensorrt-rtx, and leave tests/simulator out of PYTHONPATH."
        )


def _without_simulator(variable: str) -> list[str]:
    folders = [_SIMULATOR, str(Path(sys.prefix, "simulator"))]
    parts = filter(None, os.environ.get(variable, "").split(os.pathsep))
    return [part for part in parts if not any(part.startswith(folder) for folder in folders)]


def _answered(tasks: Sequence[Task], seconds: int, module: str) -> list[Outcome]:
    """The outcomes that one process gives: all, or those up to the task that ended it."""
    with tempfile.TemporaryDirectory(prefix="parser-") as folder:
        listed, lines, log = (Path(folder, name) for name in ("tasks", "outcomes", "log"))
        listed.write_text("".join(f"{json.dumps(to_json(task))}\n" for task in tasks))
        command = [
            "env",
            *environment(module),
            *(sys.executable, "-m", "tests.parsersuite.child", module),
            *(str(listed), str(lines), str(seconds)),
        ]
        with log.open("w+") as output:
            ending = run_limited(command, Limits(_START + seconds * len(tasks)), output)
        told = (
            [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        )
        last_words = log.read_text(errors="replace").strip()[-_TAIL:]
    answered = [from_json(Outcome, line, "outcome") for line in told if "start" not in line]
    if len(answered) == len(tasks):
        return answered
    if not told:
        raise RuntimeError(f"no process of '{module}' starts: {ending}\n{last_words}")
    culprit = told[-1]["start"]
    if ending == _ALARM or ending.startswith("no end"):
        return [*answered, Outcome(culprit, "no end in time", f"no end within {seconds} s")]
    return [*answered, Outcome(culprit, "crash", f"{ending}: {last_words}")]
