"""The command line of ``scripts/check-placement``."""

from __future__ import annotations

import argparse
import difflib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import chain
from pathlib import Path

from tests.cutsuite.cases import Case, backend_cases
from tests.cutsuite.report import write_json
from tests.placementsuite.own import own_cases
from tests.placementsuite.report import table
from tests.placementsuite.suite import Report, examine, examine_answers

_EVERY = 15.0  # seconds between progress lines


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if anything failed."""
    options = _parser(description).parse_args(arguments)
    names = options.model or _names(options)
    _check_known(names)
    start, reports = time.monotonic(), []
    last = start
    for report in _examined(names, options):
        reports.append(report)
        for plan, why in report.failed.items():
            print(f"FAILED {report.command(plan)}\n    {why}", flush=True)
        if time.monotonic() - last > _EVERY:
            last = time.monotonic()
            failed = sum(len(each.failed) for each in reports)
            print(
                f"{len(reports):,} of {len(names):,} models, {failed} failed, {last - start:.0f} s",
                flush=True,
            )
    seconds = time.monotonic() - start
    print(table(reports), f"| seconds | {seconds:.0f} |", sep="\n")
    if options.json:
        write_json(options.json, reports, {"plans": options.plans, "seconds": seconds})
    return int(any(report.failed for report in reports))


def _names(options: argparse.Namespace) -> list[str]:
    kinds = options.kind or {each.kind for each in cases().values()}
    return [name for name, each in cases().items() if each.kind in kinds][:: options.every]


@cache
def cases() -> dict[str, Case]:
    """Every case by its name."""
    return {case.name: case for case in chain(own_cases(), backend_cases())}


def case(name: str) -> Case:
    """The case of a name; own ones come without the seconds that the package's take."""
    own = (each for each in own_cases() if each.name == name)
    return next(own, None) or cases()[name]


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check-placement",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plans", type=int, default=6, help="so many of each form of a model (6)")
    parser.add_argument("--model", action="append", metavar="NAME", help="this model alone")
    parser.add_argument(
        "--plan", action="append", default=[], metavar="FORM:N", help="such as folded:3"
    )
    parser.add_argument(
        "--answers", action="store_true", help="real answers in the place of random ones"
    )
    parser.add_argument("--kind", action="append", help="own, node, light: models of a kind alone")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of N models one alone")
    parser.add_argument("--seed", type=int, default=0, help="of the random masks (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    return parser


def _check_known(names: Sequence[str]) -> None:
    own = {each.name for each in own_cases()}
    for name in names:
        if name not in own and name not in cases():
            near = ", ".join(difflib.get_close_matches(name, cases())) or "none like it"
            raise SystemExit(f"error: no model is called '{name}'; there is {near}")


def _examined(names: Sequence[str], options: argparse.Namespace) -> Iterator[Report]:
    run = partial(_examine, plans=options.plans, seed=options.seed)
    run = partial(run, only=tuple(options.plan), answers=options.answers)
    if options.jobs == 1:
        yield from map(run, names)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, spawn) as pool:
        yield from pool.map(run, names, chunksize=4)


def _examine(name: str, *, plans: int, seed: int, only: tuple[str, ...], answers: bool) -> Report:
    if answers:
        return examine_answers(case(name), only)
    return examine(case(name), plans, seed, only)
