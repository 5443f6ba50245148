"""A process that measures one candidate, a round whenever it is told to.

``python -m deploy.runtime.tuning.worker BUNDLE CHOICES PUBKEY POST`` prints the median milliseconds
of every part for each line of its standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backends.contract import DeployError, EngineError
from backends.process.child import module_command
from backends.terminal import program_output
from deploy.runtime.accuracy.sample_check import sample_agrees
from deploy.runtime.bundle.engine_choice import Choices, choices_from, choices_text
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.execution.own_posts import register_word, word_for_command
from deploy.runtime.latency import summarize_latency, timed_call
from deploy.runtime.pipeline import Pipeline

_ROUND_SECONDS, _LEAST_CALLS = 0.3, 5
_PAUSE = 0.1  # seconds; the threads of the process before may still spin

Medians = dict[str, float]
"""Milliseconds by part."""


class TuningWorker:
    """The parent's end of such a process.

    Attributes:
        agrees: whether the outputs for the bundle's sample are within the tolerance.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.agrees = bool(self._answer()["agrees"])

    def round(self) -> Medians:
        """Median milliseconds of every part and of the ``total``.

        Raises:
            EngineError: the process has ended.
        """
        time.sleep(_PAUSE)
        if self._process.stdin is not None:
            print("round", file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Medians:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise EngineError("a process that measured the bundle has ended by itself")
        answer: Medians = json.loads(line)
        return answer


@contextmanager
def start_worker(bundle: Path, choices: Choices, key: Path | None) -> Iterator[TuningWorker]:
    """Start a process, and end it with the block.

    Raises:
        EngineError: the bundle does not run with these choices.
    """
    own_post = word_for_command(read_manifest(bundle).post) or ""
    arguments = [str(bundle), choices_text(choices), str(key or ""), own_post]
    command = module_command("deploy.runtime.tuning.worker", *arguments)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield TuningWorker(process)
        finally:
            process.kill()


def main(bundle: str, choices: str, key: str, own_post: str) -> None:
    """The process itself; an empty key or step is none."""
    if own_post:
        register_word(own_post)
    root, candidate = Path(bundle), choices_from(choices)
    with Pipeline.open(root, key=Path(key) if key else None, choices=candidate) as pipeline:
        print(json.dumps({"agrees": sample_agrees(root, pipeline)}), flush=True)
        call = timed_call(root, pipeline, None)
        for _ in sys.stdin:
            rows, end = [call()], time.perf_counter() + _ROUND_SECONDS
            while time.perf_counter() < end or len(rows) < _LEAST_CALLS:
                rows.append(call())
            medians = {part: figures["p50"] for part, figures in summarize_latency(rows).items()}
            print(json.dumps(medians), flush=True)


if __name__ == "__main__":
    with program_output():
        try:
            main(*sys.argv[1:])
        except DeployError as problem:
            sys.exit(f"error: {problem}")
