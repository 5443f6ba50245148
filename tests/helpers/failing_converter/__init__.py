"""A backend whose converter goes wrong in the way that its option asks for."""

from dataclasses import dataclass
from typing import Literal

from backends.contract import About

ABOUT = About(summary="goes wrong", extra="failing_converter", convert=(), run=())


@dataclass(frozen=True)
class Options:
    how: Literal[
        "crash", "hang", "nothing", "complain", "explain", "devour", "flood",
        "garbage", "another", "no files", "lost file", "outside", "other tensors",
    ] = "crash"  # fmt: skip
