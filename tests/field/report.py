"""The table of the results, as Markdown and as JSON."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from tests.field.campaign import Result
from tests.field.model_list import AUTO, CUT, ENGINES, WHOLE
from tests.field.outcome import PASSED
from tests.field.placement import HEADER, placement_row

_LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "ncnn")
_LONGEST = 300  # characters of a text in the table


def write_report(results: Sequence[Result], out: Path) -> None:
    """Write ``results.json`` and ``results.md`` into a folder."""
    versions = {name: version(name) for name in _LIBRARIES}
    about = {"python": platform.python_version(), "versions": versions}
    rows = [asdict(result) for result in results]
    text = json.dumps({**about, "results": rows}, indent=1, ensure_ascii=False)
    (out / "results.json").write_text(f"{text}\n")
    parts = (summary(results), table(results), placements(results), texts(results))
    (out / "results.md").write_text("\n\n".join(filter(None, parts)) + "\n")


def summary(results: Sequence[Result]) -> str:
    """How many cases of each engine have each verdict."""
    engines = sorted({result.engine for result in results})
    counts = Counter((result.verdict, result.engine) for result in results)
    verdicts = sorted({result.verdict for result in results}, key=lambda each: each != PASSED)
    lines = [f"| verdict | {' | '.join(engines)} |", "|---" * (len(engines) + 1) + "|"]
    lines += [
        f"| {verdict} | {' | '.join(str(counts[verdict, engine]) for engine in engines)} |"
        for verdict in verdicts
    ]
    return "\n".join(lines)


def table(results: Sequence[Result]) -> str:
    """A row for each case."""
    lines = [
        "| model | kind | engine | cuts | verdict | max_rel | on real samples | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.model} | {each.kind} | {each.engine} | {_cell(each.cuts)} | {each.verdict} | "
        f"{_error(each.max_rel)} | {_error(each.real)} | {each.seconds:.0f} |"
        for each in results
    ]
    return "\n".join(lines)


def by_model(results: Sequence[Result]) -> str:
    """A row for each model: whole and cut on each engine, the error or the verdict."""
    found = {each.key: each for each in results if not each.key.endswith(f"-{AUTO}")}
    models = {each.model: each for each in found.values()}
    columns = [f"{engine} {way}" for engine in ENGINES for way in (WHOLE, CUT)]
    lines = [f"| model | kind | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name, one in models.items():
        keys = [f"{name}-{column.replace(' ', '-')}" for column in columns]
        cells = [_outcome(found[key]) if key in found else "" for key in keys]
        lines.append(f"| {name} | {one.kind} | {' | '.join(cells)} |")
    return "\n".join(lines) if models else ""


def _outcome(result: Result) -> str:
    return _error(result.real) if result.verdict == PASSED else result.verdict


def placements(results: Sequence[Result]) -> str:
    """A row for each case whose model was divided between engines; empty where none was."""
    divided = [each for each in results if each.key.endswith(f"-{AUTO}")]
    rows = [
        placement_row(
            each.model, each.kind, each.engine, each.verdict, _error(each.real), each.placement
        )
        for each in divided
    ]
    return "\n".join([HEADER, "|---" * HEADER.count(" |") + "|", *rows]) if rows else ""


def texts(results: Sequence[Result]) -> str:
    """Why each case that did not pass did not."""
    return "\n".join(
        f"- `{each.key}`: {each.verdict}: {_cell(each.text)}"
        for each in results
        if each.verdict != PASSED
    )


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _cell(text: str) -> str:
    line = " ".join(text.split()).replace("|", r"\|")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
