"""A process that measures one bundle, round by round.

``python -m deploy.runtime.benchmark.worker`` reads what it measures from the first line of its
standard input, and the length of a round from each further one. It prints the seconds of every part
of each call. All lines are JSON. It may be started long before: until its first line it waits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from backends.codec import from_json
from backends.contract import DeployError, EngineError, MissingLibraryError
from backends.process.child import module_command
from backends.registry import loader
from backends.terminal import program_output
from deploy.runtime.accuracy.sample_check import sample_agrees
from deploy.runtime.benchmark.energy import with_energy
from deploy.runtime.bundle.engine_choice import Choice
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST
from deploy.runtime.execution.own_posts import register_word
from deploy.runtime.latency import Milliseconds, Seconds, summarize_latency, timed_call
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision.compiled_later import compiled_first

PAUSE = 0.1  # seconds between rounds of two processes
_LONGEST_ANSWER = 600.0  # seconds
_LONGEST_END = 10.0  # seconds

WorkerProcess = subprocess.Popen[str]
"""A process that waits for what it is to measure; see ``worker_process``."""


@dataclass(frozen=True)
class Subject:
    """What a process measures.

    Attributes:
        bundle: its folder.
        choices: how its steps run; a step that is not in it runs as it was made.
        key: the file of a public key that must have signed the bundle.
        post: a post-processing step of the user's own that it needs, as a word of ``--post``.
    """

    bundle: str
    choices: Mapping[str, Choice] = field(default_factory=dict)
    key: str | None = None
    post: str | None = None


@dataclass(frozen=True)
class RoundLength:
    """How long a round lasts: ``seconds``, but at least ``least`` and at most ``most`` calls.

    Attributes:
        seconds: of calls.
        least: calls.
        most: calls.
        pause: seconds before it; the threads of the process before may still spin.
    """

    seconds: float = 0.3
    least: int = 5
    most: int = 1000
    pause: float = PAUSE


@dataclass(frozen=True)
class Round:
    """Calls in a row.

    Attributes:
        calls: the seconds of each part of each call.
        cpu_seconds: that the process has used for them, in all of its threads.
        joules: of the machine meanwhile, where it meters them.
    """

    calls: Sequence[Seconds]
    cpu_seconds: float = 0.0
    joules: float | None = None

    @property
    def medians(self) -> Milliseconds:
        """Milliseconds of each part: the p50 of this round."""
        return {part: row["p50"] for part, row in summarize_latency(self.calls).items()}


class BenchmarkWorker:
    """The parent's end of such a process.

    Attributes:
        agrees: whether the outputs for the bundle's sample are within the tolerance.
        manifest_sha256: of the bundle's manifest when the process opened it.
    """

    def __init__(self, process: WorkerProcess, subject: Subject) -> None:
        self._process = process
        self._tell(asdict(subject))
        opened = self._answer()
        self.agrees = bool(opened["agrees"])
        self.manifest_sha256 = str(opened["manifest_sha256"])

    def round(self, length: RoundLength) -> Round:
        """Measure a round.

        Raises:
            EngineError: the process has ended, or does not answer.
        """
        time.sleep(length.pause)
        self._tell(asdict(length))
        return Round(**self._answer())

    def _tell(self, value: Mapping[str, Any]) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended, and has no answer
                print(json.dumps(value), file=self._process.stdin, flush=True)

    def _answer(self) -> dict[str, Any]:
        watchdog = threading.Timer(_LONGEST_ANSWER, self._process.kill)
        watchdog.start()
        try:
            answer = next(_objects(self._process.stdout or ()), {})
        finally:
            watchdog.cancel()
        if "error" in answer:
            raise EngineError(answer["error"])
        if not answer:
            raise EngineError(
                "a process that measured the bundle has ended by itself, or gave no answer for "
                f"{_LONGEST_ANSWER:.0f} s"
            )
        return answer


def _objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines; engines may print others."""
    for line in lines:
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


@contextmanager
def worker_process(engines: Sequence[str] = (), apart: bool = False) -> Iterator[WorkerProcess]:
    """Start a process that loads its libraries, and then waits; it ends with the block.

    Args:
        engines: backends whose libraries it loads at once; else with the bundle.
        apart: whether it gets no signals of this process' group, such as that of Ctrl-C.
    """
    command = module_command("deploy.runtime.benchmark.worker", *engines)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=apart,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # of what it did not read
                    process.stdin.close()


@contextmanager
def start_worker(
    subject: Subject, waiting: WorkerProcess | None = None
) -> Iterator[BenchmarkWorker]:
    """Let a process open what it is to measure, and end it with the block.

    Args:
        subject: what it measures.
        waiting: a process that was started before; a new one by default.

    Raises:
        EngineError: the bundle does not run in it.
    """
    with worker_process() if waiting is None else nullcontext(waiting) as process:
        yield BenchmarkWorker(process, subject)
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Let the process free what its engines hold, and end by itself."""
    with suppress(BrokenPipeError, subprocess.TimeoutExpired):
        if process.stdin is not None:
            process.stdin.close()
        process.wait(_LONGEST_END)


@compiled_first()
def main(engines: Sequence[str]) -> None:
    """The process itself.

    Args:
        engines: backends whose libraries are loaded at once.
    """
    for engine in engines:
        with suppress(MissingLibraryError):  # the bundle may do without; else it says so itself
            loader(engine)
    if line := sys.stdin.readline():
        _measure(from_json(Subject, json.loads(line), "subject"))


def _measure(subject: Subject) -> None:
    bundle = Path(subject.bundle)
    if subject.post is not None:
        register_word(subject.post)
    sha256 = hash_file(bundle / MANIFEST).sha256
    key = Path(subject.key) if subject.key else None
    with Pipeline.open(bundle, key=key, choices=subject.choices) as pipeline:
        opened = {"agrees": sample_agrees(bundle, pipeline), "manifest_sha256": sha256}
        print(json.dumps(opened), flush=True)
        call = timed_call(bundle, pipeline, None)
        for line in sys.stdin:
            length = from_json(RoundLength, json.loads(line), "length")
            print(json.dumps(asdict(_measured_round(call, length))), flush=True)


def _measured_round(call: Callable[[], Seconds], length: RoundLength) -> Round:
    start = time.process_time()
    rows, joules = with_energy(lambda: list(_timed_calls(call, length)))
    return Round(rows, time.process_time() - start, joules)


def _timed_calls(call: Callable[[], Seconds], length: RoundLength) -> Iterator[Seconds]:
    end = time.perf_counter() + length.seconds
    for number in range(length.most):
        if number >= length.least and time.perf_counter() >= end:
            return
        yield call()


if __name__ == "__main__":
    with program_output():
        try:
            main(sys.argv[1:])
        except DeployError as problem:
            print(json.dumps({"error": str(problem)}), flush=True)
            sys.exit(1)
