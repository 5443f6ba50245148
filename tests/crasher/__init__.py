"""A backend whose converter goes wrong in the way that its option asks for."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    how: Literal["crash", "hang", "nothing", "complain"] = "crash"
