"""The answers, added up."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.parsersuite.outcome import Outcome
from tests.parsersuite.shipped import Row

Tables = Mapping[str, Sequence[Outcome]]
_TITLES = {
    "packaged": "`onnx.backend.test`: models of more than one node",
    "own": "Own graphs of `tests/cutsuite`, whole",
    "own segments": "Segments of these own graphs",
}
_WORDS = 150  # characters of a reason


def report(rows: Sequence[Row], tables: Tables) -> str:
    """Tables and lists of reasons, each under its heading."""
    return "\n".join(_lines(rows, tables))


def _counts(rows: Sequence[Row], tables: Tables) -> Iterator[tuple[str, str]]:
    segments = [row for row in rows if row.segment]
    yield "Segments of this repository", _count(row.verdict for row in segments)
    for part, outcomes in tables.items():
        yield _TITLES[part], _count(outcome.verdict for outcome in outcomes)


def _count(verdicts: Iterable[str]) -> str:
    every = list(verdicts)
    others = [
        f"{every.count(kind)} {kind}" for kind in dict.fromkeys(sorted(every)) if kind != "built"
    ]
    return ", ".join([f"{every.count('built'):,} of {len(every):,} built", *others])


def _lines(rows: Sequence[Row], tables: Tables) -> Iterator[str]:
    yield from _table(("what", "built of asked"), _counts(rows, tables))
    yield "\n## The models of this repository\n"
    yield from _shipped(rows)
    for part, outcomes in tables.items():
        yield f"\n## {_TITLES[part]}\n"
        yield from _suite(outcomes)


def _shipped(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ("model", "partition", "segment", "precision", "sizes", "layers", "bytes", "s"),
        (_cells(row) for row in rows if row.segment),
    )
    yield "\nRefused:\n"
    refused = [row for row in rows if row.segment and row.verdict != "built"]
    for row in refused:
        what = f"{row.deployment}: `{row.segment}` in {row.precision}"
        yield f"- {what}, {row.verdict}: {_reason(row.why)}"
    if not refused:
        yield "- none"
    yield "\nThese models do not have these partitions, or no open batch:\n"
    by_reason = defaultdict(list)
    for row in rows:
        if not row.segment:
            by_reason[_short(row.why)].append(row.deployment)
    for reason, names in by_reason.items():
        yield f"- {'; '.join(names)}: {reason}"


def _cells(row: Row) -> tuple[object, ...]:
    where = (row.model, row.preset, row.segment, row.precision)
    sizes = f"{row.sizes}, open batch" if "open batch" in row.deployment else row.sizes
    if row.verdict != "built":
        return (*where, sizes, row.layers, row.verdict, "")
    return (*where, sizes, row.layers, f"{row.size:,}", f"{row.seconds:.1f}")


def _suite(outcomes: Sequence[Outcome]) -> Iterator[str]:
    refused = [outcome for outcome in outcomes if outcome.verdict == "refused by the parser"]
    parsed = [outcome for outcome in outcomes if outcome.layers]
    rows = [("asked", len(outcomes)), ("taken whole by the parser", len(parsed))]
    verdicts = [outcome.verdict for outcome in outcomes]
    rows += [(verdict, verdicts.count(verdict)) for verdict in sorted({*verdicts})]
    rows += [
        ("nodes of the graphs that the parser refuses", sum(o.nodes for o in refused)),
        (
            "of these in the subgraphs that `supports_model_v2` lists",
            sum(o.listed for o in refused),
        ),
        ("such subgraphs", sum(o.groups for o in refused)),
        ("of these parsed as models of their own", sum(o.groups_taken for o in refused)),
        ("with so many nodes", sum(o.taken for o in refused)),
    ]
    yield from _table(("", ""), rows)
    yield ""
    by_reason: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for outcome in outcomes:
        for key in _keys(outcome):
            by_reason[key].append(outcome.name)
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    yield from _table(
        ("who refuses", "operator", "reason", "models", "such as"),
        ((*key, len(names), f"`{names[0]}`") for key, names in ordered),
    )


def _keys(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Who refuses what and why; each once for a model."""
    if outcome.refusals:
        found = (
            ("parser", refusal.operator or "(none)", _short(refusal.text))
            for refusal in outcome.refusals
        )
        return list(dict.fromkeys(found))
    who = outcome.verdict.removeprefix("refused by the ")
    return [(who, "", _short(outcome.why))] if outcome.why else []


def _reason(text: str) -> str:
    """The last error of a converter's output, in one line."""
    _, _, error = text.rpartition("error: ")
    return _short(error)


def _short(text: str) -> str:
    words = re.sub(r"\s+", " ", re.sub(r" \(?In \w+ at /\S+", "", text)).strip()
    words = re.sub(r"segment '[^']*': ", "", words)
    words = re.sub(r"\b(node_of_)?\w*test_\w+", "…", words).replace("|", "\\|")
    return words if len(words) <= _WORDS else f"{words[:_WORDS]}…"


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(map(str, header))} |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
