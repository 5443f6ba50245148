"""A command that is sent a signal at many moments of its run, from its start to its end."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.killing.signal_scenarios import Command, Variant
from tests.killing.started import Started, forked, load_libraries, new_interpreter

_MARK = "DEPLOY_KILL_CAMPAIGN"  # a variable of the environment, by which processes are found again
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
_LONGEST = 60.0  # seconds that a process may take to end after a signal
_GRACE = 10.0  # seconds that processes which it started may take after it
_RUNS = 2  # undisturbed ones, which say how long it takes
_AGAIN = 10  # after every so-manieth strike the command is run once more, to its end
_WHOLE = 10  # every so-manieth process is a new interpreter, which begins with its imports
_LEFT = ("tmp", ".part-", "deploy", "backend")  # of temporary files of ours


@dataclass(frozen=True)
class Strike:
    """A signal, and what came of it.

    Attributes:
        number: of the strike.
        signal: its name.
        moment: seconds after the start.
        code: how the process ended; a signal's number is negative.
        seconds: from the signal to the end of the process.
        orphans: seconds until the last process that it had started was gone.
        result: ``old`` or ``new``; ``ended`` before the signal came.
        faults: what must not be.
    """

    number: int
    signal: str
    moment: float
    code: int
    seconds: float
    orphans: float
    result: str
    faults: tuple[str, ...]


def strikes(command: Command, folder: Path, name: str, count: int, seed: int) -> Iterator[Strike]:
    """Strike a command; strikes of an earlier run with this folder and seed come first.

    Args:
        command: what is struck.
        folder: for templates, trials and the record.
        name: of the command.
        count: how many strikes.
        seed: of the moments.
    """
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    record = home / f"strikes-{seed}.jsonl"
    known = [_read(line) for line in record.read_text().splitlines()] if record.exists() else []
    yield from known[:count]
    if len(known) >= count:
        return
    load_libraries()
    lengths = [_length(variant, home, number) for number, variant in enumerate(command.variants)]
    with record.open("a") as journal:
        for number in range(len(known), count):
            strike = _strike(command, home, number, _moment(number, count, seed), lengths)
            journal.write(json.dumps(asdict(strike)) + "\n")
            journal.flush()
            yield strike


def summary(found: list[Strike]) -> str:
    """The cells of a row: strikes, old, new, ended before, codes, slowest end, faults."""
    results = Counter(strike.result for strike in found)
    codes = Counter(
        f"{strike.signal} {strike.code}" for strike in found if strike.result != "ended"
    )
    shown = ", ".join(f"{code}: {times}" for code, times in sorted(codes.items()))
    faults = sum(bool(strike.faults) for strike in found)
    slowest = max((strike.seconds for strike in found), default=0.0)
    cells = (
        len(found),
        results["old"],
        results["new"],
        results["ended"],
        shown,
        f"{slowest:.1f}",
        faults,
    )
    return " | ".join(map(str, cells))


def _read(line: str) -> Strike:
    stored = json.loads(line)
    return Strike(**{**stored, "faults": tuple(stored["faults"])})


def _moment(number: int, count: int, seed: int) -> float:
    """A share of the run: each strike has its own interval, in a shuffled order."""
    chance = random.Random(f"{seed} {count}")
    order = chance.sample(range(count), count)
    shares = [(place + chance.random()) / count for place in order]
    return shares[number]


def _start(number: int) -> Callable[..., Started]:
    return new_interpreter if number % _WHOLE == _WHOLE - 1 else forked


def _template(variant: Variant, home: Path) -> Path:
    name = getattr(variant.prepare, "__name__", "template").strip("_")
    made = home / f"template-{name}"
    if not (made / "log").exists() or (made / "making").exists():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        (made / "making").touch()
        variant.prepare(made)
        shutil.rmtree(made / "tmp")
        (made / "making").unlink()
    return made


def _length(variant: Variant, home: Path, number: int) -> Mapping[str, float]:
    """The seconds of the slowest of some undisturbed runs, of forks and of new interpreters."""
    kept = home / f"length-{number}.json"
    if not kept.exists():
        starts = (forked, new_interpreter)
        kept.write_text(json.dumps({one.__name__: _slowest(variant, home, one) for one in starts}))
    lengths: Mapping[str, float] = json.loads(kept.read_text())
    return lengths


def _slowest(variant: Variant, home: Path, start: Callable[..., Started]) -> float:
    times = []
    for _ in range(_RUNS):
        trial, begun = _begun(variant, home), time.monotonic()
        code = start(trial, variant.module, variant.words).wait()
        times.append(time.monotonic() - begun)
        assert code == 0, (trial / "log").read_text()
    return max(times)


def _begun(variant: Variant, home: Path) -> Path:
    trial = home / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(_template(variant, home), trial, symlinks=True)
    return trial


def _strike(
    command: Command, home: Path, number: int, share: float, lengths: list[Mapping[str, float]]
) -> Strike:
    index = number % len(command.variants)
    variant, begin = command.variants[index], _start(number)
    moment = share * lengths[index][begin.__name__]
    how = SIGNALS[number // len(command.variants) % len(SIGNALS)]
    trial = _begun(variant, home)
    mark = f"{os.getpid()}-{number}"
    process = begin(trial, variant.module, variant.words, **{_MARK: mark})
    ended = True
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        ended = False
    start = time.monotonic()
    process.send_signal(how)
    faults = []
    try:
        process.wait(_LONGEST)
    except subprocess.TimeoutExpired:
        faults.append(f"no end within {_LONGEST:g} s")
        process.send_signal(signal.SIGKILL)
        process.wait()
    seconds = time.monotonic() - start
    orphans = _orphans(mark)
    if orphans >= _GRACE:
        faults.append("processes were left")
    code, result = process.returncode, "ended"
    if not (ended or code in (0, -how, 128 + how)):
        faults.append(f"exit code {code}")
    faults += _faults_after(command, variant, trial, number)
    if not ended:
        with suppress(Exception):
            result = command.check(trial)
    if faults:
        shutil.rmtree(home / f"fault-{number}", ignore_errors=True)
        trial.rename(home / f"fault-{number}")
    return Strike(
        number, how.name, round(moment, 3), code, round(seconds, 2), round(orphans, 2), result,
        tuple(faults),
    )  # fmt: skip


def _faults_after(command: Command, variant: Variant, trial: Path, number: int) -> list[str]:
    """What is damaged; of some strikes, also a next run that does not succeed."""
    left = [path.name for path in (trial / "tmp").iterdir() if path.name.startswith(_LEFT)]
    faults = [f"{name} was left in tmp" for name in left]
    try:
        command.check(trial)
        if number % _AGAIN == 0:
            shutil.copy(trial / "log", trial / "log-struck")
            code = forked(trial, variant.module, variant.words).wait()
            assert code == 0, f"the next run: {(trial / 'log').read_text()[-500:]}"
            command.check(trial)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        faults.append(f"{type(error).__name__}: {error}")
    return faults


def _orphans(mark: str) -> float:
    """Wait for processes with this mark in their environment; what is left is killed."""
    start = time.monotonic()
    while (left := _marked(mark)) and time.monotonic() - start < _GRACE:
        time.sleep(0.02)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return time.monotonic() - start


def _marked(mark: str) -> list[int]:
    sought = f"{_MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if sought in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
