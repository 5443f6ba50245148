"""How a model was divided between engines: in lines and tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from deploy.placement.record import (
    MeasuredPlan,
    PlacedBorder,
    PlacementRecord,
    RefusedOperator,
)
from deploy.report.progress import format_bytes

INCOMPLETE = (
    "The search for failing nodes reached its bound on trials: what was left of those regions went "
    "to the next engine whole, and the engine before may take some of it."
)
"""What an incomplete search means."""

_MAX_ENGINES, _MAX_NOTES, _MAX_MEASURED = 4, 2, 3  # in the short form
_MAX_OPERATORS = 6  # of an engine, in the short form
_INDENT = 12 * " "


@dataclass(frozen=True)
class EngineShare:
    """What an engine has of a model.

    Attributes:
        engine: its name.
        colour: the number of its colour in pictures.
        segments: how many.
        nodes: of all.
        share: of the multiply-adds, from 0 to 1; of the nodes where there are none.
        of: what it is a share of.
    """

    engine: str
    colour: int
    segments: int
    nodes: int
    share: float
    of: str

    def __str__(self) -> str:
        """Such as ``83.2 % of multiply-adds, 3 segments, 288 nodes``."""
        parts = f"{counted(self.segments, 'segment')}, {counted(self.nodes, 'node')}"
        return f"{format_share(self.share)} of {self.of}, {parts}"


def engine_shares(record: PlacementRecord) -> list[EngineShare]:
    """What each engine has, the preferred ones first; also those that have nothing."""
    names = dict.fromkeys((*record.prefer, *(region.engine for region in record.regions)))
    return [_engine_share(record, name, colour) for colour, name in enumerate(names, 1)]


def _engine_share(record: PlacementRecord, engine: str, colour: int) -> EngineShare:
    own = [region for region in record.regions if region.engine == engine]
    return EngineShare(
        engine,
        colour,
        len(own),
        sum(region.nodes for region in own),
        record.share(engine),
        share_unit(record),
    )


def share_unit(record: PlacementRecord) -> str:
    """What shares are shares of."""
    return "multiply-adds" if any(region.macs for region in record.regions) else "nodes"


def region_shares(record: PlacementRecord) -> list[float]:
    """The share of each region, from 0 to 1."""
    macs = [region.macs for region in record.regions]
    sizes = macs if any(macs) else [region.nodes for region in record.regions]
    return [size / (sum(sizes) or 1) for size in sizes]


def format_share(share: float) -> str:
    """A share for people.

    Examples:
        >>> format_share(0.8321), format_share(0.0001), format_share(0), format_share(0.9999)
        ('83.2 %', '< 0.1 %', '0 %', '> 99.9 %')
    """
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    if share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if share > 0.999 else f"{100 * share:.1f} %"


def counted(count: int, noun: str) -> str:
    """Such as ``1 node`` and ``1,204 nodes``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def region_numbers(record: PlacementRecord) -> dict[str, int]:
    """The number of each region by the name of its segment, from 1 up."""
    return {region.segment: number for number, region in enumerate(record.regions, 1)}


@dataclass(frozen=True)
class BorderRow:
    """A tensor that goes from one region into others, for one reason.

    Attributes:
        ends: the numbers of the regions, such as ``1 to 2, 4``; a name where it is no region.
        tensor: its name.
        spec: its dtype and shape.
        size: in bytes.
        why: the node that made the border, and the reason.
    """

    ends: str
    tensor: str
    spec: str
    size: int
    why: str


def border_rows(record: PlacementRecord) -> list[BorderRow]:
    """The borders in the order of their regions, each tensor once for a reason."""
    numbers = region_numbers(record)

    def ends(border: PlacedBorder) -> tuple[int, int]:
        return numbers.get(border.source, 0), numbers.get(border.target, 0)

    groups: dict[tuple[str, str, str], list[PlacedBorder]] = {}
    for border in sorted(record.borders, key=ends):
        key = border.source, border.tensor, f"{border.node}: {border.reason}"
        groups.setdefault(key, []).append(border)
    return [
        BorderRow(
            f"{numbers.get(source, source)} to "
            + ", ".join(str(numbers.get(border.target, border.target)) for border in group),
            tensor,
            group[0].spec,
            group[0].size,
            why,
        )
        for (source, tensor, why), group in groups.items()
    ]


def border_line(record: PlacementRecord) -> str:
    """What goes over the borders in one run."""
    tensors = len({border.tensor for border in record.borders})
    if not tensors:
        return "nothing goes from one segment to another"
    verb = "crosses" if tensors == 1 else "cross"
    size = format_bytes(record.border_bytes)
    return f"{counted(tensors, 'tensor')} {verb} borders: {size} in one run"


def search_line(record: PlacementRecord) -> str:
    """How the plan was found."""
    seconds = f"{record.seconds:.1f} s"
    if record.remembered:
        return f"planned in {seconds} with what earlier runs had learnt"
    if not record.trials:
        return f"planned in {seconds} without a trial"
    return f"planned in {seconds} with {counted(record.trials, 'trial conversion')}"


def placement_lines(record: PlacementRecord) -> list[str]:
    """A record in at most twelve lines or so; the rest is in the report."""
    shares = [share for share in engine_shares(record) if share.segments]
    lines = [f"{share.engine}: {share}" for share in shares[:_MAX_ENGINES]]
    if len(shares) > _MAX_ENGINES:
        lines.append(f"and {counted(len(shares) - _MAX_ENGINES, 'more engine')}")
    lines += [border_line(record), search_line(record)]
    text = [f"placement   {(chr(10) + _INDENT).join(lines)}"]
    text += [f"not taken   {line}" for line in _refused_lines(record.refused)]
    text += [f"measured    {plan}" for plan in _fastest_measured(record)]
    text += [f"note        {note}" for note in record.notes[:_MAX_NOTES]]
    return text if record.complete else [*text, f"warning     {INCOMPLETE}"]


def _fastest_measured(record: PlacementRecord) -> list[MeasuredPlan]:
    """The plan that was taken, then the fastest others."""
    ranked = sorted(
        record.measured,
        key=lambda plan: (not plan.taken, plan.milliseconds is None, plan.milliseconds or 0.0),
    )
    return ranked[:_MAX_MEASURED]


def _refused_lines(refused: Sequence[RefusedOperator]) -> Iterator[str]:
    """For each engine the operators that it lacks, the most frequent first."""
    for engine in dict.fromkeys(item.engine for item in refused):
        counts: dict[str, int] = {}
        for item in refused:
            if item.engine == engine:
                counts[item.operator] = counts.get(item.operator, 0) + item.nodes
        ranked = sorted(counts.items(), key=lambda count: -count[1])
        named = [f"{operator} ({nodes})" for operator, nodes in ranked[:_MAX_OPERATORS]]
        more = len(ranked) - len(named)
        text = ", ".join(named) + (f" and {more} more" if more > 0 else "")
        yield f"by {engine}: {text}"


def print_placement(console: Console, record: PlacementRecord) -> None:
    """Print a record in full: engines, segments, borders with reasons, refused operators, notes.

    The tables stay readable on 80 columns.

    Args:
        console: to print on.
        record: of a planned model.
    """
    console.print(_engine_table(record), "", _region_table(record), sep="\n")
    if record.borders:
        console.print("", _border_table(record), sep="\n")
    if record.refused:
        console.print("", _refused_table(record.refused), sep="\n")
    console.print("")
    for line in placement_notes(record):
        console.print(line, highlight=False)


def placement_notes(record: PlacementRecord) -> list[str]:
    """Sentences on a plan: bytes, search, notes, and whether the search was complete."""
    lines = [border_line(record), search_line(record)]
    measured = [f"measured: {plan}" for plan in record.measured]
    return [*lines, *measured, *record.notes] + (
        [] if record.complete else [f"warning: {INCOMPLETE}"]
    )


def _engine_table(record: PlacementRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("engine", overflow="fold")
    for name in (share_unit(record), "segments", "nodes"):
        table.add_column(name, justify="right")
    for share in engine_shares(record):
        table.add_row(
            share.engine, format_share(share.share), str(share.segments), f"{share.nodes:,}"
        )
    return table


def _region_table(record: PlacementRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    for name in ("segment", "engine"):
        table.add_column(name, overflow="fold", max_width=20)
    for name in ("nodes", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("first and last node", overflow="fold")
    shares = region_shares(record)
    for number, (region, share) in enumerate(zip(record.regions, shares, strict=True), 1):
        nodes = dict.fromkeys((region.first, region.last))
        table.add_row(
            str(number),
            region.segment,
            region.engine,
            f"{region.nodes:,}",
            format_share(share),
            "\n".join(nodes),
        )
    return table


def _border_table(record: PlacementRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("border", overflow="fold", max_width=16)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("tensor, and why there is a border", overflow="fold")
    before = ""
    for row in border_rows(record):
        why = "" if row.why == before else f"\n{row.why}"
        table.add_row(row.ends, format_bytes(row.size), f"{row.tensor} {row.spec}{why}")
        before = row.why
    return table


def _refused_table(refused: Sequence[RefusedOperator]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("not taken by", "operator"):
        table.add_column(name, overflow="fold", max_width=20)
    table.add_column("nodes", justify="right", no_wrap=True)
    table.add_column("why, and the first of them", overflow="fold")
    engine = ""
    for item in sorted_refused(refused):
        why = f"{item.reason}{' (found by a trial)' if item.learnt else ''}\n{item.example}"
        name = "" if item.engine == engine else item.engine
        table.add_row(name, item.operator, f"{item.nodes:,}", why)
        engine = item.engine
    return table


def sorted_refused(refused: Sequence[RefusedOperator]) -> list[RefusedOperator]:
    """By engine, in their order, and there the most frequent first."""
    engines = list(dict.fromkeys(item.engine for item in refused))
    return sorted(refused, key=lambda item: (engines.index(item.engine), -item.nodes))
