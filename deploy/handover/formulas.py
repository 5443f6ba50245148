"""What a step computes, in words: the section ``Formula`` of its docstring, and its constants.

The formula lives with the code. It names the parameters of the step, and the numbers that its
method ``formula_constants`` gives::

    class Threshold:
        \"\"\"Scores to labels.

        Formula:
            1. A class counts where its score exceeds ``limit``.
        \"\"\"
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

import numpy as np

from backends.contract import DeployError
from deploy.runtime.execution.step_params import signature_of


class FormulaError(DeployError):
    """The constants of a step's formula cannot be told."""


_SECTION = re.compile(r"^Formula:\n((?:[ \t]+.*\n|\n)+)", re.MULTILINE)
_ITEM = re.compile(r"^\d+\. ")


def formula_of(code: Any) -> tuple[str, ...]:
    """The steps of the formula in a docstring; empty where it has none.

    Args:
        code: a class or function, or what stands for one.

    Examples:
        >>> def threshold(limit: float) -> None:
        ...     '''Scores to labels.
        ...
        ...     Formula:
        ...         1. A class counts where its
        ...            score exceeds ``limit``.
        ...         2. The others do not.
        ...     '''
        >>> formula_of(threshold)
        ('A class counts where its score exceeds ``limit``.', 'The others do not.')
    """
    found = _SECTION.search(f"{inspect.getdoc(code) or ''}\n")
    lines = found[1].splitlines() if found else []
    items: list[str] = []
    for line in map(str.strip, lines):
        if _ITEM.match(line):
            items.append(_ITEM.sub("", line))
        elif line and items:
            items[-1] += f" {line}"
    return tuple(items)


def effective_params(factory: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a step with the defaults of those that are not given.

    A default that JSON does not have is left out.

    Examples:
        >>> def keep(most: int, threshold: float = 0.5, rule: object = sum) -> None: ...
        >>> effective_params(keep, {"most": 10})
        {'threshold': 0.5, 'most': 10}
    """
    return _as_json({**_defaults(factory), **params})


def _defaults(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        known = signature_of(factory).parameters
    except ValueError:  # compiled code may have none
        return {}
    given = {name: parameter.default for name, parameter in known.items()}
    return {name: value for name, value in given.items() if value is not Parameter.empty}


def constants_of(id: str, factory: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Further numbers of a step, which follow from its parameters or never change.

    Args:
        id: of the step, for the error.
        factory: a class with a method ``formula_constants`` that takes the parameters, or without.
        params: all of its parameters.

    Raises:
        FormulaError: the method fails.
    """
    constants = getattr(factory, "formula_constants", None)
    if constants is None:
        return {}
    try:
        return _as_json(constants(**params))
    except Exception as error:  # whatever it is, the step is to be named
        raise FormulaError(
            f"formula_constants of step '{id}' fails with {type(error).__name__}",
            do="It takes all parameters of the step, and returns its further numbers by name.",
        ) from error


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that JSON has; tuples and NumPy's arrays become lists."""
    found = {name: _plain(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if _is_json(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
