"""The command measure: all that a device can say of a bundle, as one record."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.runtime.commands.arguments import (
    add_bundle,
    add_report,
    add_signature,
    positive_integer,
    positive_number,
)

if TYPE_CHECKING:
    from deploy.runtime.device_record import DeviceRecord

_SECONDS, _TIMEOUT = 3.0, 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Measure a bundle on this machine: build what the desk could not, compare the sample with "
        "the reference, time each choice of its engines in turns, and evaluate it. Exit code 1 "
        "says that the sample does not agree."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3 --rounds 9 --json record.json"
    add_bundle(parser)
    parser.add_argument(
        "--rounds",
        type=positive_integer,
        default=0,
        metavar="N",
        help="measure the latency in so many rounds (default: not at all)",
    )
    parser.add_argument(
        "--seconds",
        type=positive_number,
        default=_SECONDS,
        metavar="S",
        help="how long each choice of engines is measured, in all rounds (default: %(default)g)",
    )
    parser.add_argument(
        "--tune", action="store_true", help="keep the fastest engines and threads first, as tune"
    )
    parser.add_argument(
        "--dataset", type=Path, metavar="DATASET", help="evaluate on this data set, as eval"
    )
    parser.add_argument(
        "--timeout",
        type=positive_number,
        default=_TIMEOUT,
        metavar="SECONDS",
        help="longest time for the build of one engine (default: %(default)g)",
    )
    parser.add_argument(
        "--own",
        action="store_true",
        help="you have made this bundle yourself, on another machine: it is not isolated here",
    )
    add_report(parser, "the record")
    add_signature(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Measure, print, and write the record; false where the sample does not agree."""
    from backends.files import write_text
    from backends.process.child import end_with_parent
    from deploy.runtime.device_measurement import MeasuredWork, measure_bundle
    from deploy.runtime.device_record import record_text

    end_with_parent()
    work = MeasuredWork(
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        tune=arguments.tune,
        dataset=arguments.dataset,
        key=arguments.require_signature,
        own=arguments.own,
        timeout=arguments.timeout,
    )
    with _output_as_progress():
        record = measure_bundle(arguments.bundle, work)
    if arguments.json != "-":
        print("\n".join(_lines(record)))
    if arguments.json is not None:
        write_text(arguments.json, record_text(record))
    return record.status == "passed"


@contextmanager
def _output_as_progress() -> Iterator[None]:
    """Send standard output to standard error, also that of engines and of child processes."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush_libraries()
        os.dup2(saved, 1)
        os.close(saved)


def _flush_libraries() -> None:
    """Let what libraries in C hold in their own buffers go where it belongs."""
    with suppress(OSError, AttributeError, TypeError):  # where there is no such C library
        ctypes.CDLL(None).fflush(None)


def _lines(record: DeviceRecord) -> Iterator[str]:
    from deploy.runtime.benchmark.machine_state import describe_machine, slowed_down
    from deploy.runtime.benchmark.ranking import format_ms

    verdict = "ok" if record.status == "passed" else "BAD"
    yield f"{verdict:<4}{record.problem or 'the sample agrees'}"
    for name, value in record.notes.items():
        yield f"    {name:<24}{value:g}"
    marks = "".join(f"  {mark}" for mark in slowed_down(record.states))
    for row in record.latency:
        energy = "" if row.joules is None else f"  {row.joules:.3g} J for each call"
        least, most = (format_ms(value) for value in (min(row.rounds), max(row.rounds)))
        yield (
            f"    {row.name:<24}p50 {format_ms(row.total.p50)} ms, rounds {least} to {most} ms"
            f"{energy}{marks}"
        )
    yield from (f"    {name:<24}not measured: {why}" for name, why in record.left_out.items())
    if record.standing:
        yield record.standing
    if record.tuned:
        yield f"tuned: {record.tuned}"
    if record.states:
        yield f"machine: {describe_machine(record.states)}"
