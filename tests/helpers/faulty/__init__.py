"""A backend for tests: ONNX Runtime, with a wrong operator if its options ask for one."""

from dataclasses import dataclass

from backends.contract import About

ABOUT = About(summary="goes wrong quietly", extra="faulty", convert=("onnx",), run=("numpy",))


@dataclass(frozen=True)
class Options:
    """What goes wrong.

    Attributes:
        leaky_relu: this Relu becomes a LeakyRelu.
        round_to_half: every half value is rounded to half, as on a GPU.
        unsupported_operator: an operator that the converter does not take.
        run_fails: running fails.
    """

    leaky_relu: str = ""
    round_to_half: bool = False
    unsupported_operator: str = ""
    run_fails: bool = False
