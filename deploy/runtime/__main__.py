"""``python -m deploy.runtime``: finish, run, check, bench, tune and eval a bundle on a device."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from backends.acceptance import CONFIDENT
from backends.contract import DeployError
from deploy.runtime.commands.bench import bench
from deploy.runtime.commands.build import build
from deploy.runtime.commands.check import check
from deploy.runtime.commands.eval import evaluate
from deploy.runtime.commands.run import run
from deploy.runtime.tuning.search import tune

_TIMEOUT = 3600


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exit code 1 where something is wrong, 2 for wrong usage."""
    asked = _parser().parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], bool]] = {
        "run": lambda args: run(
            args.bundle,
            args.images,
            args.json,
            args.out,
            args.score,
            args.threads,
            args.require_signature,
        ),
        "finish": lambda args: build(args.bundle, args.timeout, args.require_signature),
        "check": lambda args: check(args.bundle, args.threads, args.require_signature),
        "bench": lambda args: bench(
            args.bundle,
            args.runs,
            args.warmup,
            args.image,
            args.json,
            args.threads,
            args.require_signature,
            args.as_made,
        ),
        "tune": lambda args: tune(
            args.bundle, args.threads, args.rounds, args.forget, args.require_signature
        ),
        "eval": lambda args: evaluate(
            args.bundle, args.dataset, args.limit, args.json, args.threads, args.require_signature
        ),
    }
    warnings.formatwarning = _one_line
    try:
        good = commands[asked.command](asked)
    except DeployError as error:
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")
    sys.exit(0 if good else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.runtime", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="find what is in pictures")
    check_parser = commands.add_parser("check", help="replay the bundle's own sample and compare")
    bench_parser = commands.add_parser("bench", help="measure the latency of every part")
    eval_parser = commands.add_parser("eval", help="compute COCO mAP, and measure latency")
    finish_parser = commands.add_parser(
        "finish", help="build the engines of a bundle made with backend.build=device, and verify it"
    )
    tune_parser = commands.add_parser(
        "tune", help="find which engine and threads each step is fastest with here, and keep that"
    )
    for each in (finish_parser, tune_parser):
        each.add_argument("bundle", type=Path, metavar="BUNDLE")
    tune_parser.add_argument("--threads", type=_counts, default=(), help="to try, such as 1,2,4")
    tune_parser.add_argument("--rounds", type=_count, default=15)
    tune_parser.add_argument(
        "--forget", action="store_true", help="forget what was found, and measure nothing"
    )
    finish_parser.add_argument(
        "--timeout", type=_count, default=_TIMEOUT, help="seconds for one engine"
    )
    for each in (finish_parser, run_parser, check_parser, bench_parser, tune_parser, eval_parser):
        each.add_argument(
            "--require-signature",
            type=Path,
            metavar="PUBKEY",
            help="refuse a bundle that this key did not sign, or with a byte changed since",
        )
    for each in (run_parser, check_parser, bench_parser, eval_parser):
        each.add_argument("bundle", type=Path, metavar="BUNDLE")
        each.add_argument("--threads", type=_count, help="of the engines")
    run_parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    run_parser.add_argument(
        "--score",
        type=float,
        default=CONFIDENT,
        help="print and draw from this score on (default 0.3)",
    )
    run_parser.add_argument("--out", type=Path, metavar="DIR", help="draw the detections there")
    eval_parser.add_argument(
        "dataset", type=Path, metavar="DATASET.json", help="COCO annotations, the pictures beside"
    )
    eval_parser.add_argument("--limit", type=_count, help="only so many of its pictures")
    for each in (run_parser, bench_parser, eval_parser):
        each.add_argument("--json", metavar="FILE", help="write the result; - is standard output")
    bench_parser.add_argument("--runs", type=_count, default=100)
    bench_parser.add_argument("--warmup", type=_count, default=10)
    bench_parser.add_argument(
        "--as-made", action="store_true", help="without what tune has found here"
    )
    bench_parser.add_argument("--image", type=Path, help="in the place of the bundle's sample")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, got {text}")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(map(_count, text.split(","))))


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"warning: {message}\n"


if __name__ == "__main__":
    main()
