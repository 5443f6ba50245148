"""The command line of ``scripts/check-support``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.process.child import Limits, run_limited
from tests.parsersuite.batches import environment
from tests.supportsuite.child import CHILDREN, SKIPPED, node_tests

_START = 120  # seconds for a process to import its libraries and load the models


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Judge, and print the counts; 1 if anything that was taken is wrong."""
    parser = argparse.ArgumentParser(
        prog="check-support",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("backend", choices=list(CHILDREN))
    parser.add_argument("--every", type=int, default=1, help="only every so many-th model")
    parser.add_argument("--seconds", type=int, default=60, help="for one model (60)")
    parser.add_argument("--out", type=Path, help="a file for the verdict on each model")
    options = parser.parse_args(arguments)
    names = sorted(node_tests())[:: options.every]
    rows = list(verdicts(options.backend, names, options.seconds))
    if options.out:
        options.out.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    counts = Counter(row["verdict"] for row in rows if row["verdict"] != SKIPPED)
    for verdict, count in counts.most_common():
        print(f"{count:5} {verdict}")
    return int(any(verdict.startswith("taken, but") for verdict in counts))


def verdicts(backend: str, names: list[str], seconds: int) -> Iterator[dict[str, str]]:
    """The verdict on each model; a process that ends costs one of them."""
    while names:
        rows, ending = _process(backend, names, seconds)
        finished = [row for row in rows if "verdict" in row]
        yield from finished
        names = names[len(finished) :]
        if names and not rows:
            raise RuntimeError(f"no process starts: {ending}")
        if names:
            yield {"name": names.pop(0), "verdict": "taken, but the process ends", "why": ending}


def _process(backend: str, names: list[str], seconds: int) -> tuple[list[dict[str, str]], str]:
    with tempfile.TemporaryDirectory(prefix="support-") as folder:
        listed, told, log = (Path(folder, name) for name in ("names", "told", "log"))
        listed.write_text("\n".join(names))
        module = [sys.executable, "-m", "tests.supportsuite.child", backend]
        command = ["env", *environment(), *module, str(listed), str(told), str(seconds)]
        with log.open("w+") as output:
            ending = run_limited(command, Limits(_START + seconds * len(names)), output)
        lines = told.read_text().splitlines() if told.is_file() else []
        return [json.loads(line) for line in lines], ending or log.read_text()[-300:]
