"""A backend for tests: it multiplies its only input by the number in its only file."""

from dataclasses import dataclass

from backends.contract import About

ABOUT = About(summary="multiplies", extra="scaler", convert=("numpy",), run=("numpy",))


@dataclass(frozen=True)
class Options:
    threads: int = 0
