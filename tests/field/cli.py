"""The command line of ``scripts/check-field``."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from tests.field.architecture_list import ARCHITECTURES
from tests.field.campaign import Campaign, Result
from tests.field.model_list import AUTO, CUT, ENGINES, WHOLE, Case, FieldModel, variants
from tests.field.outcome import FAULTS
from tests.field.packaged_files import FILES
from tests.field.packages import PackageError
from tests.field.report import by_model, placements, summary, write_report
from tests.parsersuite.log import Log

MODELS: dict[str, FieldModel] = {model.name: model for model in (*FILES, *ARCHITECTURES)}
_PART = "case"


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Run the cases that the command line names; 1 if one shows a fault of this project."""
    options = _parser(description).parse_args(arguments)
    cases = [
        Case(model, engine, variant)
        for model in _models(options.only)
        for engine in options.engine or ENGINES
        for variant in variants(model, engine)
        if not options.variant or variant in options.variant
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "log.jsonl"
    if not options.resume:
        path.unlink(missing_ok=True)
    log = Log(path)
    campaign = Campaign(
        options.out.resolve(), options.cache.resolve(), options.seconds, not options.noise,
        options.override,
    )  # fmt: skip
    _run(cases, campaign, log)
    results = log.answers(_PART, Result)
    write_report(results, options.out)
    print(*filter(None, (summary(results), by_model(results), placements(results))), sep="\n\n")
    return int(any(result.verdict in FAULTS for result in results))


def _run(cases: Sequence[Case], campaign: Campaign, log: Log) -> None:
    done = log.keys(_PART)
    pending = [case for case in cases if case.key not in done]
    for number, case in enumerate(pending, 1):
        try:
            result = campaign.run(case)
        except PackageError as error:
            raise SystemExit(f"error: {error}") from error
        log.add(_PART, case.key, result)
        error = "" if result.real is None else f" {result.real:.1e}"
        where = f"{number}/{len(pending)} {case.key}"
        print(f"{where}: {result.verdict}{error} ({result.seconds:.0f} s)", flush=True)
        if result.text:
            print(f"    {' '.join(result.text.split())[:600]}", flush=True)


def _models(names: Sequence[str] | None) -> list[FieldModel]:
    for name in names or ():
        if name not in MODELS:
            near = ", ".join(difflib.get_close_matches(name, MODELS)) or ", ".join(MODELS)
            raise SystemExit(f"error: no model is called '{name}'; there is {near}")
    return [MODELS[name] for name in names] if names else list(MODELS.values())


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check-field",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    add = parser.add_argument
    add("--only", action="append", metavar="NAME", help="this model alone; may be repeated")
    add("--engine", action="append", choices=ENGINES, help="this engine alone; likewise")
    add("--variant", action="append", choices=(WHOLE, CUT, AUTO), help="not all; may be repeated")
    add("--out", type=Path, default=Path("runs/field"), metavar="FOLDER", help="for results")
    add("--cache", type=Path, default=home / "backend-chain/field", metavar="FOLDER",
        help="for downloaded files (the user's cache)")  # fmt: skip
    add("--resume", action="store_true", help="go on where an earlier run stopped")
    add("--noise", action="store_true", help="verify on noise, not on real samples")
    add("--seconds", type=float, default=300, help="for one command (300)")
    add("--override", action="append", default=[], metavar="KEY=VALUE",
        help="a further word of each command line; may be repeated")  # fmt: skip
    return parser
