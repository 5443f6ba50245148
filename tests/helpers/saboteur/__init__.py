"""A backend for tests: ONNX Runtime, with a wrong operator if its options ask for one."""

from dataclasses import dataclass

from backends.contract import About

ABOUT = About(summary="goes wrong quietly", extra="saboteur", convert=("onnx",), run=("numpy",))


@dataclass(frozen=True)
class Options:
    """What goes wrong.

    Attributes:
        leaks: this Relu becomes a LeakyRelu.
        rounds: every half value is rounded to half, as on a GPU.
        unable: an operator that the converter does not take.
        stumbles: running fails.
    """

    leaks: str = ""
    rounds: bool = False
    unable: str = ""
    stumbles: bool = False
