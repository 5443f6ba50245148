"""The command line of ``scripts/check-tensorrt``."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.parsersuite.batches import check_real, outcomes
from tests.parsersuite.log import Log
from tests.parsersuite.outcome import Outcome, Task
from tests.parsersuite.own_graphs import segment_tasks, whole_tasks
from tests.parsersuite.packaged import packaged_tasks
from tests.parsersuite.report import report
from tests.parsersuite.shipped import Deployment, Row, deployments, rows_of

SHIPPED, PACKAGED, OWN, OWN_SEGMENTS = "shipped", "packaged", "own", "own segments"
DEPLOYED = "deployed"  # the deployments of which every row is in the log
PARTS = (SHIPPED, PACKAGED, OWN)


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Ask, and print what came of it; 1 if a process of ours crashed."""
    options = _parser(description).parse_args(arguments)
    check_real()
    options.log.parent.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        options.log.unlink(missing_ok=True)
    log = Log(options.log)
    with tempfile.TemporaryDirectory(prefix="check-tensorrt-") as scratch:
        _ask(options, log, Path(scratch))
    tables = _tables(log)
    print(report(log.answers(SHIPPED, Row), tables))
    return int(any(outcome.verdict == "crash" for each in tables.values() for outcome in each))


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check-tensorrt",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--log", type=Path, default=Path("runs/tensorrt-rtx.jsonl"), metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    parser.add_argument("--part", action="append", choices=PARTS, help="this part alone")
    parser.add_argument("--model", action="append", metavar="NAME", help="of 'shipped'")
    parser.add_argument("--preset", action="append", metavar="NAME", help="likewise")
    parser.add_argument("--fixed", action="store_true", help="of 'shipped': no open batch")
    parser.add_argument("--limit", type=int, help="at most so many tasks of each part")
    parser.add_argument("--cuts", type=int, default=8, help="of each own graph (8)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of cuts (0)")
    parser.add_argument("--seconds", type=int, default=120, help="for one task (120)")
    return parser


def _ask(options: argparse.Namespace, log: Log, scratch: Path) -> None:
    parts = options.part or PARTS
    if SHIPPED in parts:
        _deploy(_chosen(options), log, scratch)
    if PACKAGED in parts:
        _parse(PACKAGED, packaged_tasks(scratch / PACKAGED), options, log)
    if OWN in parts:
        _parse(OWN, whole_tasks(scratch / OWN), options, log)
        segments = segment_tasks(scratch / OWN_SEGMENTS, options.cuts, options.seed)
        _parse(OWN_SEGMENTS, segments, options, log)


def _chosen(options: argparse.Namespace) -> list[Deployment]:
    chosen = [
        each
        for each in deployments()
        if (not options.model or each.model in options.model)
        and (not options.preset or each.preset in options.preset)
        and not (options.fixed and each.batch)
    ]
    return chosen[: options.limit]


def _deploy(chosen: Sequence[Deployment], log: Log, scratch: Path) -> None:
    done, known = log.keys(DEPLOYED), log.keys(SHIPPED)
    for deployment in chosen:
        if deployment.key in done:
            continue
        start = time.monotonic()
        for row in rows_of(deployment, scratch / "work", scratch / "cache"):
            if row.key not in known:
                log.add(SHIPPED, row.key, row)
        log.add(DEPLOYED, deployment.key, deployment)
        print(f"{deployment.key}: {time.monotonic() - start:.0f} s", flush=True)


def _parse(part: str, tasks: Iterable[Task], options: argparse.Namespace, log: Log) -> None:
    done = log.keys(part)
    pending = [task for task in itertools.islice(tasks, options.limit) if task.name not in done]
    tally: Counter[str] = Counter()
    for outcome in outcomes(pending, options.seconds):
        log.add(part, outcome.name, outcome)
        tally[outcome.verdict] += 1
        if tally.total() % 100 == 0:
            print(f"{part}: {tally.total()} of {len(pending)}: {dict(tally)}", flush=True)


def _tables(log: Log) -> dict[str, list[Outcome]]:
    return {part: log.answers(part, Outcome) for part in (PACKAGED, OWN, OWN_SEGMENTS)}
