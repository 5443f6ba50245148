"""Whether a forward is a function of its inputs: no state between calls, no random numbers.

An exported graph has neither, so a model with them verifies in its first call and differs later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from deploy.export.export_failures import ExportError, is_model_code
from deploy.export.module_state import ModuleState, find_tensor, restored_state

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""From the inputs of a model to its outputs, both by name."""


_NOISE = 1e-4  # relative; above what threads change in the order of a sum
_DRIFT = 1e-6  # relative, where state has changed: a slow one adds up over the calls
# (input, weight, bias, running_mean, running_var, training, momentum, eps)
_BATCH_NORMS = ("native_batch_norm", "native_batch_norm_legit")
_SHOWN = 5  # paths in an error


def check_forward(model: nn.Module, forward: Forward, inputs: Mapping[str, Tensor]) -> None:
    """Call a model several times, and compare the results.

    State that changes is refused only where a later result depends on it: a table of positions that
    a first call keeps does no harm. The model's state is put back.

    Args:
        model: whose state is watched.
        forward: calls it in evaluation mode, without gradients.
        inputs: a sample of each input.

    Raises:
        ExportError: the second result depends on the first call, or on random numbers.
    """
    with restored_state(model) as state, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        operators = _Operators()
        with operators:
            first = forward(inputs)
        changes = state.changes()
        if operators.training:
            raise _training_error(operators.training)
        torch.manual_seed(1)
        second = forward(inputs)
        if difference := _difference(first, second, changes):
            state.restore()
            if state.changes():  # parameters, which cannot be put back
                raise _state_error(model, changes, difference)
            torch.manual_seed(2)
            is_random = _difference(forward(inputs), first, changes) is not None
            if is_random or not changes:
                raise _random_error(operators.random, difference)
            state.restore()
            raise _state_error(model, changes, difference)
        if changes:
            _check_other_inputs(model, forward, inputs, state, changes)


def _check_other_inputs(
    model: nn.Module,
    forward: Forward,
    inputs: Mapping[str, Tensor],
    state: ModuleState,
    changes: list[str],
) -> None:
    """A result that was kept from the first inputs shows with other inputs alone."""
    other = {name: _other_values(value) for name, value in inputs.items()}
    later = forward(other)
    state.restore()
    difference = _difference(forward(other), later, changes)
    state.restore()
    if difference:
        raise _state_error(model, changes, difference)


def _other_values(value: Tensor) -> Tensor:
    """Another sample of legal values: the second half of the elements are those of the first."""
    flat = value.flatten()
    return flat[torch.arange(flat.numel()) // 2].reshape(value.shape)


@dataclass(frozen=True)
class _Difference:
    """An output of two calls, and the largest absolute difference; text where shapes differ."""

    output: str
    size: str


def _difference(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], changes: list[str]
) -> _Difference | None:
    bound = _DRIFT if changes else _NOISE
    for name in {**first, **second}:
        if name not in first or name not in second:
            return _Difference(name, "there in one call alone")
        old, new = first[name], second[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            return _Difference(name, f"{list(old.shape)} and {list(new.shape)}")
        if not _is_close(old, new, bound):
            wide = torch.complex128 if old.is_complex() else torch.float64
            gap = (old.to(wide) - new.to(wide)).abs().nan_to_num().max()
            return _Difference(name, f"max_abs {float(gap):.3g}")
    return None


def _is_close(first: Tensor, second: Tensor, bound: float) -> bool:
    """Whether they differ by no more than this share of the largest magnitude; NaNs are equal."""
    if not (first.is_floating_point() or first.is_complex()):
        return torch.equal(first, second)
    finite = first.abs()[first.isfinite()]
    scale = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(first, second, rtol=0, atol=bound * scale, equal_nan=True)


def _state_error(model: nn.Module, changes: list[str], difference: _Difference) -> ExportError:
    named = [path for path in changes if find_tensor(model, path) is not None]
    listed = ", ".join(changes[:_SHOWN]) + (" and others" if len(changes) > _SHOWN else "")
    if named == changes:
        do = (
            f"Pass 'model.state=[{', '.join(named)}]': each becomes an input and an output of the "
            "chain, and pipelines carry it between calls. Or pass it into forward and return it."
        )
    else:
        do = "Keep it outside the model: pass it into forward as a tensor, and return the new one."
    return ExportError(
        f"forward changes {listed}, and a later result depends on it",
        expected="a result that depends on the inputs alone",
        got=f"another '{difference.output}' in a second call ({difference.size})",
        do=do,
    )


def _training_error(lines: Mapping[str, str]) -> ExportError:
    line = next(iter(lines.values()))
    return ExportError(
        f"a batch normalisation is in training mode ({line})",
        expected="the running statistics, which do not depend on the batch",
        got="the statistics of each batch, and running ones that change in every call",
        do="Leave it in evaluation mode: no .train() in forward, and training=self.training.",
    )


def _random_error(operators: Mapping[str, str], difference: _Difference) -> ExportError:
    if operators:
        names = ", ".join(f"{name} ({line})" if line else name for name, line in operators.items())
        what = f"the model is random: it draws numbers in {names}"
        do = "Switch it off for deployment (a dropout by training=self.training), or pass the "
        do += "numbers in as an input."
    else:
        what = "the model is random, or keeps state outside its modules"
        do = "Look for random numbers of Python or NumPy, globals, and operators without a fixed "
        do += "order; make forward depend on its inputs alone."
    return ExportError(
        what,
        expected="equal results of two calls with one input",
        got=f"another '{difference.output}' ({difference.size})",
        do=do,
    )


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operators that do not belong in a deployed model.

    Attributes:
        random: the line of the user's code of each operator that draws random numbers.
        training: likewise of batch normalisations that update their running statistics.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.random: dict[str, str] = {}
        self.training: dict[str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for each operator; see ``TorchDispatchMode``."""
        name = func.overloadpacket.__name__.strip("_")
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.setdefault(name, _model_line())
        if name in _BATCH_NORMS and args[3] is not None and args[5]:
            self.training.setdefault(name, _model_line())
        return func(*args, **(kwargs or {}))


def _model_line() -> str:
    """File and line of the innermost call that is code of the model."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_model_code(frame.f_code.co_filename):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
