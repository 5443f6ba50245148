"""The picture of a model that was divided between engines."""

from __future__ import annotations

from deploy.placement.record import PlacedBorder, PlacedRegion, PlacementRecord
from deploy.report.placement import (
    counted,
    engine_shares,
    format_share,
    region_shares,
    share_unit,
)
from deploy.report.progress import format_bytes
from deploy.report.svg.column import KeyEntry, render_column, shortened
from deploy.report.svg.diagram import Arrow, Box, engine_colours

_NAME_COLUMNS = 32  # of a tensor
_MAX_OPERATORS = 6  # in a tooltip


def placement_svg(title: str, record: PlacementRecord) -> str:
    """A record as an SVG document: the regions, coloured by engine, and the tensors between them.

    Args:
        title: for screen readers.
        record: with at least one region.
    """
    boxes = region_boxes(record)
    keys = {box.key for box in boxes}
    arrows = [
        border_arrow(border) for border in record.borders if {border.source, border.target} <= keys
    ]
    return render_column(title, boxes, arrows, placement_key(record))


def placement_key(record: PlacementRecord) -> list[KeyEntry]:
    """What the colours mean; engines without a region have none."""
    return [
        KeyEntry(share.colour, share.engine, f"{format_share(share.share)} of {share.of}")
        for share in engine_shares(record)
        if share.segments
    ]


def region_boxes(record: PlacementRecord) -> list[Box]:
    """The boxes of the regions, by the names of their segments."""
    colours = engine_colours((*record.prefer, *(region.engine for region in record.regions)))
    return [
        _region_box(record, region, share, colours[region.engine])
        for region, share in zip(record.regions, region_shares(record), strict=True)
    ]


def _region_box(record: PlacementRecord, region: PlacedRegion, share: float, colour: int) -> Box:
    size = f"{counted(region.nodes, 'node')}, {format_share(share)} of {share_unit(record)}"
    return Box(
        region.segment,
        region.segment,
        (region.engine, size),
        "segment",
        colour,
        _region_tooltip(region),
    )


def _region_tooltip(region: PlacedRegion) -> str:
    shown = [f"{operator} {count}" for operator, count in region.operators[:_MAX_OPERATORS]]
    more = len(region.operators) - len(shown)
    operators = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return "\n".join(
        filter(
            None,
            (
                f"{region.segment} on {region.engine}",
                operators,
                f"from {region.first}",
                f"to {region.last}",
            ),
        )
    )


def flow_label(name: str, spec: str, size: int | None) -> str:
    """The label of a tensor in a column: its name, and below it what it is."""
    return f"{shortened(name, _NAME_COLUMNS)}\n{spec} {format_bytes(size)}".rstrip()


def border_tooltip(border: PlacedBorder) -> str:
    """The whole name of the tensor, and why there is a border."""
    return f"{border.tensor}\n{border.node}: {border.reason}"


def border_arrow(border: PlacedBorder) -> Arrow:
    """The arrow of a tensor over a border, with the reason as its tooltip."""
    label = flow_label(border.tensor, border.spec, border.size)
    return Arrow(border.source, border.target, label, border_tooltip(border))
