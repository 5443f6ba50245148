"""Points: the names by which marked tensors are cut.

A point is written::

    name:input                 every marked tensor that goes into the mark's first call
    name:output                every marked tensor that comes out of it
    name[1]:input              the same of its second call within one forward
    name:input.pred_maps       one subtree, such as the tensors of a list
    name:input.pred_maps.0     one tensor

A word without a colon is not a point: cuts read it as a graph input or output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from backends.contract import DeployError

Side = Literal["input", "output"]

_NAME = re.compile(r"[^\s:\[\]]+")
_POINT = re.compile(
    r"(?P<mark>[^\s:\[\]]+)(\[(?P<call>\d+)\])?:(?P<side>input|output)(\.(?P<path>\S+))?"
)


class PointError(DeployError):
    """A point, or the name of a mark, with a syntax error."""


@dataclass(frozen=True)
class MarkedTensor:
    """One tensor that passes through a mark.

    Attributes:
        mark: the mark's name.
        call: how many calls of this name came before it in the same forward.
        side: whether it is an input or an output.
        path: the parameter or result that holds it, dotted for nested values.
    """

    mark: str
    call: int
    side: Side
    path: str

    def __str__(self) -> str:
        """Such as ``yolo_head:input.pred_maps.0``."""
        return str(Point(self.mark, self.call, self.side, self.path))


@dataclass(frozen=True)
class Point:
    """All marked tensors on one side of a call, or those below ``path``."""

    mark: str
    call: int
    side: Side
    path: str = ""

    def covers(self, tensor: MarkedTensor) -> bool:
        """Whether the tensor lies at or below this point."""
        return (self.mark, self.call, self.side) == (tensor.mark, tensor.call, tensor.side) and (
            not self.path or f"{tensor.path}.".startswith(f"{self.path}.")
        )

    def __str__(self) -> str:
        """The point as it is written."""
        call = f"[{self.call}]" if self.call else ""
        return f"{self.mark}{call}:{self.side}" + (f".{self.path}" if self.path else "")


def parse_point(text: str) -> Point:
    """Parse a point.

    Examples:
        >>> parse_point("head[1]:input.maps.0")
        Point(mark='head', call=1, side='input', path='maps.0')

    Raises:
        PointError: ``text`` is not of the form ``name:input``.
    """
    match = _POINT.fullmatch(text)
    if not match:
        raise PointError(
            "malformed point",
            expected="name:input, name:output, name[1]:input or name:input.path",
            got=repr(text),
        )
    side: Side = "input" if match["side"] == "input" else "output"
    return Point(match["mark"], int(match["call"] or 0), side, match["path"] or "")


def check_name(name: str) -> None:
    """Refuse a mark's name that could not stand in a point.

    Raises:
        PointError: the name is empty, or holds blanks, colons or brackets.
    """
    if not _NAME.fullmatch(name):
        raise PointError(
            "name of a mark",
            expected="one or more characters other than blanks, ':', '[' and ']'",
            got=repr(name),
        )
