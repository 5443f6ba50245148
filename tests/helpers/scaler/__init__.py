"""A backend for tests: it multiplies its only input by the number in its only file."""

from dataclasses import dataclass

from backends.contract import About


def misfit(options: "Options") -> str:
    return "" if options.device == "cpu" else f"no {options.device} here"


ABOUT = About(
    summary="multiplies", extra="scaler", convert=("numpy",), run=("numpy",), misfit=misfit
)


@dataclass(frozen=True)
class Options:
    threads: int = 0
    device: str = "cpu"
