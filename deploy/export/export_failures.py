"""What stops an export or a run of a model -> one error, with the line of the model's code."""

from __future__ import annotations

import linecache
import re
import sys
import textwrap
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from backends.contract import DeployError

# raised by the exporter, and by a forward that cannot be traced or run
FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    NotImplementedError,
)

_HOST_STEP = "let it run on the host between two segments: run_on_host in docs/host-steps.md"
_SHOWN = 80  # characters of a line of code
_PROJECT = Path(__file__).parents[2]
_NOT_THE_MODEL = (str(Path(torch.__file__).parent), str(_PROJECT / "deploy" / "export"))
_OWN_FILES = tuple(str(_PROJECT / "deploy" / name) for name in ("mark.py", "rewrite.py"))


class ExportError(DeployError):
    """The model cannot be exported, or not with these inputs."""


@dataclass(frozen=True)
class _CodeLine:
    """A line of the model's code."""

    file: str
    number: int
    function: str
    text: str

    def __str__(self) -> str:
        """Such as ``nets.py, line 12, in forward ('if x.sum() > 0:')``."""
        text = textwrap.shorten(self.text, _SHOWN, placeholder=" ...")
        return f"{self.file}, line {self.number}, in {self.function} ('{text}')"


def export_failure(
    error: BaseException, model: nn.Module, inputs: Mapping[str, torch.Tensor]
) -> DeployError:
    """The innermost cause as an error: it is the one that the model's author can fix."""
    cause = _innermost(error)
    if isinstance(cause, DeployError):
        return cause
    if "INTERNAL ASSERT FAILED" in str(cause):
        return ExportError(
            f"the model cannot be exported: torch fails on it ({_first_line(cause)[:60]})",
            do="Let forward return tensors, a tuple or list of tensors, or a dict of tensors. "
            "In the place of TorchScript, deploy the module that it was made from.",
        )
    line = _line_of_model(cause)
    if isinstance(cause, GuardOnDataDependentSymNode):
        return _data_dependent(line)
    if line is not None and "numpy()" in str(cause):
        return ExportError(
            f"the model cannot be exported: it leaves torch for NumPy at {line}",
            do=f"Compute it with operators of torch, or {_HOST_STEP}.",
        )
    return ExportError(
        f"the model cannot be exported: {failure_text(cause)}", do=_dtype_hint(model, inputs)
    )


def run_failure(
    error: BaseException, model: nn.Module, inputs: Mapping[str, torch.Tensor]
) -> ExportError:
    """An error of the eager model, run on a sample."""
    return ExportError(
        f"the model does not run on its sample: {failure_text(error)}",
        do=_dtype_hint(model, inputs)
        or "Check shape, dtype and range of model.inputs, and the model's own code.",
    )


def failure_text(error: BaseException) -> str:
    """The first line of an error, with the line of the model's code that raised it."""
    line = _line_of_model(error)
    return f"{_first_line(error)} at {line}" if line is not None else _first_line(error)


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _line_of_model(error: BaseException) -> _CodeLine | None:
    """The innermost line of code that is neither torch's nor this project's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = frame.filename
        if is_model_code(path) and frame.lineno is not None:
            text = linecache.getline(path, frame.lineno).strip()
            return _CodeLine(_short_path(path), frame.lineno, frame.name, text)
    return None


def is_model_code(path: str) -> bool:
    """Whether a file has code of the model, and is neither torch's nor this project's export."""
    return path.endswith(".py") and not path.startswith((*_NOT_THE_MODEL, *_OWN_FILES))


def _short_path(path: str) -> str:
    """The path from the folder that Python imports it from."""
    folders = [Path.cwd(), *map(Path, filter(None, sys.path))]
    shortened = [
        str(Path(path).relative_to(folder))
        for folder in folders
        if Path(path).is_relative_to(folder)
    ]
    return min(shortened, key=len, default=path)


_REMEDIES = (
    (
        re.compile(r"assert\b"),
        "Run the assertion only where nothing is exported: if not torch.compiler.is_exporting().",
    ),
    (
        re.compile(r"while\b"),
        "Repeat it a fixed number of times and choose with torch.where what changes, or "
        f"{_HOST_STEP}.",
    ),
    (
        re.compile(r"for\b|.*\b(int|float|bool|range|len)\("),
        "Keep the number a tensor: torch.where chooses by it, arithmetic takes it, and a boolean "
        f"mask such as x[mask] selects by it. Or {_HOST_STEP}.",
    ),
)


def _data_dependent(line: _CodeLine | None) -> ExportError:
    text = line.text if line is not None else ""
    branch = f"Compute both results and choose with torch.where, write torch.cond, or {_HOST_STEP}."
    is_branch = re.match(r"(el)?if\b|.*\bif\b.*\belse\b", text)
    matches = (remedy for pattern, remedy in _REMEDIES if pattern.match(text))
    return ExportError(
        "the model cannot be exported: what its code does next depends on the values of a tensor"
        + (f" at {line}" if line is not None else ""),
        expected="the same operations for all values of the inputs",
        do=branch if is_branch else next(matches, branch),
    )


def _dtype_hint(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> str:
    """What to do where weights and inputs have other floats; empty where they have not."""
    weights = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
    others = {
        name: value.dtype
        for name, value in inputs.items()
        if value.is_floating_point() and value.dtype not in weights
    }
    if not others or len(weights) != 1:
        return ""
    (dtype,) = weights
    name, given = next(iter(others.items()))
    own, given_name = str(dtype).removeprefix("torch."), str(given).removeprefix("torch.")
    takes = "" if own == "bfloat16" else f", or model.inputs.{name}.dtype={own}"
    return (
        f"Its weights are {own} and input '{name}' is {given_name}: pass model.dtype={given_name}"
        f"{takes}."
    )
