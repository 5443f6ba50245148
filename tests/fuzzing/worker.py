"""A process that handles cases one after the other until one of them ends it."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from backends.contract import DeployError
from tests.fuzzing.audit import Audit
from tests.fuzzing.ground import Ground, settle
from tests.fuzzing.trees import Tree, write
from tests.fuzzing.watch import Watch

Door = Callable[[], None]
Target = Callable[[Path, Path, Door], None]

MEMORY = 4 << 30  # bytes that a case may ask for
_FILE = 1 << 28  # bytes of a file that a case may write
_DISK = 1 << 29  # bytes that a case may leave in its folder
_FRAMES = 12
_OURS = ("/deploy/", "/backends/")


@dataclass(frozen=True)
class Given:
    """A case as a worker needs it.

    Attributes:
        tree: what is handed over.
        entry: the path in it that the target gets; empty for the folder.
        changes: what was done to the seed.
    """

    tree: Tree
    entry: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """What workers of a campaign do.

    Attributes:
        kind: its name.
        make: the case of a number.
        target: is called with the path that is handed over, a folder to write into, and what it
            calls before each further way in, which may take as long again.
        ground: where everything lies.
        memory: bytes that a case may ask for.
    """

    kind: str
    make: Callable[[int], Given]
    target: Target
    ground: Ground
    memory: int = MEMORY


def serve(job: Job, numbers: Sequence[int], watch: Watch, results: int) -> NoReturn:
    """Be the worker: never returns. Each case is told of when it starts and when it ends."""
    code = 70
    try:
        _prepare(job)
        audit = Audit()
        for number in numbers:
            _case(job, number, watch, audit, results)
        code = 0
    except BaseException:  # noqa: BLE001 - the harness itself failed: say it, and end
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def _prepare(job: Job) -> None:
    ground = job.ground
    os.setsid()
    settle(ground.scratch)
    log = os.open(ground.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for file, standard in ((null, 0), (log, 1), (log, 2)):
        os.dup2(file, standard)
    sys.stdout, sys.stderr = (open(n, "w", closefd=False, buffering=1) for n in (1, 2))  # noqa: SIM115
    faulthandler.enable(sys.stderr, all_threads=False)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (_in_use() + job.memory,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _in_use() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _case(job: Job, number: int, watch: Watch, audit: Audit, results: int) -> None:
    given, home = job.make(number), job.ground.home(number)
    inside, out = home / "given", home / "out"
    write(given.tree, inside)
    out.mkdir()
    os.truncate(job.ground.log, 0)
    os.chdir(home)
    watch.events()
    tell(results, start=number, changes=given.changes)
    audit.arm(home, job.ground.scratch)
    starts = [time.monotonic()]

    def door() -> None:
        starts.append(time.monotonic())
        tell(results, door=number)

    verdict, place, detail = _tried(job.target, inside / given.entry, out, door)
    seconds = max(b - a for a, b in pairwise([*starts, time.monotonic()]))
    asked = audit.disarm()
    seen = [*asked, *watch.events(), *_left(job.ground, home)]
    os.chdir("/")
    shutil.rmtree(home)
    tell(
        results,
        end=number,
        verdict="escape" if seen else verdict,
        place=seen[0].replace(str(job.ground.root), "ROOT") if seen else place,
        detail="\n".join([*seen, *asked.values(), detail]),
        seconds=seconds,
    )


def _tried(target: Target, given: Path, out: Path, door: Door) -> tuple[str, str, str]:
    try:
        target(given, out, door)
    except DeployError as error:
        return "refused", f"{type(error).__name__} {_place(error, _OURS)}", str(error)[:500]
    except MemoryError as error:
        return "memory", f"MemoryError {_place(error, _OURS)}", _story(error)
    except BaseException as error:  # noqa: BLE001 - a fault of any kind is the finding
        kind = "memory" if "bad_alloc" in str(error) else "raised"
        return kind, f"{_name(error)} {_place(error, _OURS)}", _story(error)
    return "ok", "", ""


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__name__[0].isupper() else f"{kind.__module__}.{kind.__name__}"


def _place(error: BaseException, ours: Sequence[str]) -> str:
    """The innermost function of our own that the error came through, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f for f in frames if any(part in f.filename for part in ours) and "site-p" not in f.filename
    ]
    shown = [*own[-1:], *frames[-1:]]
    return " < ".join(
        dict.fromkeys(f"{'/'.join(Path(f.filename).parts[-2:])}:{f.name}" for f in shown)
    )


def _story(error: BaseException) -> str:
    lines = traceback.format_exception(error, limit=-_FRAMES)
    return "".join(lines)[-6000:]


def _left(ground: Ground, home: Path) -> list[str]:
    """What lies where nobody may have put it, or too much of it; it does not stay there."""
    known = {ground.root: {"outside", "scratch", "cases", "worker.log"}, home.parent: {home.name}}
    known[home] = {"given", "out"}
    found = []
    for folder, names in known.items():
        for stray in (path for path in folder.iterdir() if path.name not in names):
            found.append(f"{stray.relative_to(ground.root)} was created")
            _remove(stray)
    size = sum(path.lstat().st_size for path in (home / "out").rglob("*"))
    return [*found, f"{size:,} bytes were written"] if size > _DISK else found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def tell(results: int, **message: Any) -> None:
    """One line of JSON for the campaign."""
    os.write(results, json.dumps(message).encode() + b"\n")
