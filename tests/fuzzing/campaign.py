"""Cases in workers that may die: what came of each, and the watchdog that ends what hangs."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.fuzzing.child import Child
from tests.fuzzing.watch import Watch
from tests.fuzzing.worker import Job

SECONDS = 10.0  # that each way into the product may take
FAULTS = ("raised", "memory", "crash", "hang", "escape")
_BATCH = 100  # cases of one worker
_BURNT = 0.3  # seconds of work that show how busy the machine is
_START = 300.0  # seconds that a worker may take between two cases


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        number: of the case.
        verdict: ``ok``, ``refused``, or one of ``FAULTS``.
        place: what refused it or failed, and where: outcomes of one place have one cause.
        detail: the message, or the traceback.
        seconds: that it took; of several ways in, the one that took longest.
        changes: what was done to the seed.
        alone: whether a fault came again when the case had a worker of its own.
    """

    number: int
    verdict: str
    place: str = ""
    detail: str = ""
    seconds: float = 0.0
    changes: tuple[str, ...] = ()
    alone: bool = True

    @property
    def fault(self) -> bool:
        """Whether this must not happen."""
        return self.verdict in FAULTS


class HarnessError(Exception):
    """The harness itself failed."""


def run(job: Job, numbers: Sequence[int], seconds: float = SECONDS) -> Iterator[Outcome]:
    """The outcome of every case; that of a fault after a second look at it alone.

    Raises:
        HarnessError: a case could not be made.
    """
    pending = list(numbers)
    while pending:
        outcomes = list(_batch(job, pending[:_BATCH], seconds))
        pending = pending[len(outcomes) :]
        for outcome in outcomes:  # one worker at a time: they share their ground
            yield _settled(job, outcome, seconds) if outcome.fault else outcome


def _settled(job: Job, outcome: Outcome, seconds: float) -> Outcome:
    """A hang or a lack of memory must come again alone: it may be earlier cases, or the machine."""
    patience = _crowd() if outcome.verdict == "hang" else 1.0
    (again,) = _batch(job, [outcome.number], seconds * patience)
    if again.fault or outcome.verdict in ("hang", "memory"):
        return again
    return replace(outcome, alone=False)


def _batch(job: Job, numbers: Sequence[int], seconds: float) -> Iterator[Outcome]:
    """Outcomes of the first cases, up to the one that ends the worker."""
    watch = Watch(job.ground.outside)
    try:
        with Child(job, numbers, watch) as child:
            while (start := _started(job, child)) is not None:
                outcome = Outcome(start["start"], "crash", changes=tuple(start["changes"]))
                begun = time.monotonic()
                try:
                    while (end := child.next(seconds)) is not None and "door" in end:
                        pass  # another way in: its time begins
                except TimeoutError:
                    child.abort()
                    yield _ended(job, watch, replace(outcome, verdict="hang", seconds=seconds))
                    return
                took = time.monotonic() - begun
                if end is None:
                    dead = replace(outcome, place=_how(child.code()), seconds=took)
                    yield _ended(job, watch, dead)
                    return
                facts = {key: end[key] for key in ("verdict", "place", "detail", "seconds")}
                yield replace(outcome, **facts)
    finally:
        watch.close()


def _crowd() -> float:
    """How many times longer than alone anything takes on this machine now."""
    wall, busy = time.monotonic(), time.process_time()
    while time.process_time() - busy < _BURNT:
        pass
    return max(1.0, (time.monotonic() - wall) / _BURNT)


def _started(job: Job, child: Child) -> dict[str, Any] | None:
    try:
        start = child.next(_START)
    except TimeoutError as error:
        raise HarnessError(f"{job.kind}: a case is not made within {_START:g} s") from error
    if start is None and (code := child.code()) != 0:
        raise HarnessError(f"{job.kind}: the worker ended with {code}\n{_log(job)}")
    return start


def _ended(job: Job, watch: Watch, outcome: Outcome) -> Outcome:
    """What can be said of a case that ended its worker."""
    seen, log = watch.events(), _log(job)
    verdict = outcome.verdict
    if seen:
        verdict = "escape"
    elif "bad_alloc" in log or "MemoryError" in log:
        verdict = "memory"
    shutil.rmtree(job.ground.home(outcome.number), ignore_errors=True)
    place = " ".join((outcome.place or outcome.verdict, _top(log)))
    return replace(outcome, verdict=verdict, place=place, detail="\n".join([*seen, log]))


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _log(job: Job) -> str:
    return job.ground.log.read_text(errors="replace")[-8000:]


def _top(log: str) -> str:
    """The innermost Python function of a dump by ``faulthandler``, and our own innermost."""
    frames = [line.strip() for line in log.splitlines() if line.strip().startswith("File ")]
    own = [line for line in frames if "/deploy/" in line or "/backends/" in line]
    shown = [*own[:1], *frames[:1]]
    return " < ".join(dict.fromkeys(_frame(line) for line in shown)) or "outside of Python"


def _frame(line: str) -> str:
    file, _, function = line.removeprefix('File "').partition('"')
    return f"{'/'.join(Path(file).parts[-2:])}:{function.rsplit(' in ', 1)[-1]}"
