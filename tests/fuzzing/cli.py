"""The command line of ``scripts/fuzz``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.fuzzing import kept
from tests.fuzzing.campaign import Outcome
from tests.fuzzing.cases import case
from tests.fuzzing.ground import SAMPLE, Ground
from tests.fuzzing.guided import guided
from tests.fuzzing.journal import note, open_journal, read_journal
from tests.fuzzing.report import Report, causes, table, write_fault, write_report
from tests.fuzzing.seeds import KINDS, corpus
from tests.fuzzing.shares import Asked, outcomes
from tests.fuzzing.worker import Given

_EVERY = 15.0  # seconds between progress lines


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if there was any fault."""
    options = _parser(description).parse_args(arguments)
    options.out = options.out.resolve()
    kinds = options.kind or list(KINDS)
    if options.guided:
        return max(guided(kind, options.out, options.seconds, options.seed) for kind in kinds)
    if options.keep:
        given = _given(kinds[0], options, options.only)
        print(kept.keep(kinds[0], options.keep, given))
        return 0
    if options.kept:
        kinds = [kind for kind in kept.kinds() if kind in kinds]
    reports = [_campaign(kind, options) for kind in kinds]
    for report in reports:
        write_report(options.out / report.kind, report)
        print(*causes(report), sep="\n", end="\n" if report.faults else "")
    print(table(reports))
    return int(any(report.faults for report in reports))


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fuzz", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("kind", nargs="*", choices=[[], *KINDS], metavar="KIND", help=f"{', '.join(KINDS)} (all)")
    add("--mutants", type=int, default=500, help="of each kind (500)")
    add("--first", type=int, default=0, help="number of the first (0)")
    add("--only", type=int, metavar="N", help="this one alone, with all that is known of it")
    add("--seed", type=int, default=0, help="of the mutants (0)")
    add("--out", type=Path, default=Path("runs/fuzz"), metavar="DIR", help="of corpus and findings")
    add("--jobs", type=int, default=1, help="processes (1)")
    add("--forks", action="store_true", help="forks for the product's own children: faster")
    add("--resume", action="store_true", help="go on with the run of this seed that was stopped")
    add("--keep", metavar="NAME", help="with --only: keep the case as a test of its own")
    add("--kept", action="store_true", help="the kept cases, in the place of mutants")
    add("--guided", action="store_true", help="let coverage choose the mutants")
    add("--seconds", type=int, default=60, help="of a guided run (60)")
    return parser


def _numbers(kind: str, options: argparse.Namespace) -> list[int]:
    if options.only is not None:
        return [options.only]
    if options.kept:
        return list(range(len(kept.names(kind))))
    return list(range(options.first, options.first + options.mutants))


def _campaign(kind: str, options: argparse.Namespace) -> Report:
    report, begun, numbers = Report(kind), time.monotonic(), _numbers(kind, options)
    asked = Asked(
        kind,
        numbers,
        options.out / "corpus",
        options.seed,
        options.forks,
        options.kept,
    )
    told = begun
    for outcome in _journaled(asked, options):
        if options.only is not None:
            _tell_all(outcome)
        if report.add(outcome):
            faults = options.out / kind / ("kept" if options.kept else "faults")
            write_fault(faults, outcome, _given(kind, options, outcome.number))
            print(f"FAULT {kind} {outcome.number}: {outcome.verdict}: {outcome.place}", flush=True)
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            print(report.progress(len(numbers), told - begun), flush=True)
    report.seconds = time.monotonic() - begun
    return report


def _journaled(asked: Asked, options: argparse.Namespace) -> Iterator[Outcome]:
    """The outcomes, with ``--resume`` those of the run before first; each is written down."""
    if options.only is not None or options.kept:
        yield from outcomes(asked, options.jobs)
        return
    folder, numbers = options.out / asked.kind, set(asked.numbers)
    earlier = read_journal(folder, asked.seed) if options.resume else []
    earlier = [outcome for outcome in earlier if outcome.number in numbers]
    yield from earlier
    left = sorted(numbers - {outcome.number for outcome in earlier})
    with open_journal(folder, asked.seed, earlier) as journal:
        for outcome in outcomes(replace(asked, numbers=left), options.jobs):
            note(journal, outcome)
            yield outcome


def _given(kind: str, options: argparse.Namespace, number: int) -> Given:
    """A case again, as it is on the sample ground."""
    if options.kept:
        return kept.kept(kind, number, Ground(SAMPLE))
    seeds = corpus(kind, options.out / "corpus")
    return case(kind, options.seed, number, seeds, Ground(SAMPLE).outside)


def _tell_all(outcome: Outcome) -> None:
    print(f"{', '.join(outcome.changes)}: {outcome.verdict} {outcome.place}")
    print(outcome.detail)
