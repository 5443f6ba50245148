"""Parameters of host steps and post-processing, checked against the signature of their factory.

A manifest or a recipe gives the parameters, so they are a stranger's. The factory's annotations are
the schema: types, and bounds that ``Annotated`` declares. A factory without annotations, or with
types that JSON does not have, gets values whose depth and sizes are checked.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import Parameter
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from backends.codec import FormatError, read_value
from backends.json_limits import check_json, json_size

MAX_SIZE = 1 << 20  # values and characters of all parameters of a step together

_BY_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_JSON_TYPES = (bool, int, float, str, list, dict, type(None), Any)


def read_params(
    factory: Callable[..., Any], params: Mapping[str, Any], given: Collection[str] = ()
) -> dict[str, Any]:
    """The parameters as keyword arguments of a factory.

    Numbers for a ``float`` become floats, arrays for a tuple become tuples.

    Args:
        factory: a class or function, whose annotations are the types of the parameters.
        params: plain values by name.
        given: the names of arguments that do not come from the parameters.

    Raises:
        FormatError: a parameter that is unknown, missing, of another type, out of its bounds, not
            finite, too deep or too large.

    Examples:
        >>> from backends.bounds import Between
        >>> def keep(most: Annotated[int, Between(1, 100)], threshold: float = 0.5) -> None: ...
        >>> read_params(keep, {"most": 10, "threshold": 1})
        {'most': 10, 'threshold': 1.0}
        >>> read_params(keep, {"most": 1.5})
        Traceback (most recent call last):
        backends.codec.FormatError: most: expected int from 1 to 100, got 1.5
    """
    check_json(params, "parameters", finite=True)
    if (size := json_size(params)) > MAX_SIZE:
        raise FormatError(
            "size", expected=f"at most {MAX_SIZE:,} values and characters", got=f"{size:,}"
        )
    signature = _signature(factory)
    if signature is None:
        return dict(params)
    _check_names(signature, params, given)
    kinds = {name: parameter.annotation for name, parameter in signature.items()}
    return {name: _read(kinds.get(name, Any), value, name) for name, value in params.items()}


def signature_of(factory: Callable[..., Any]) -> inspect.Signature:
    """The signature of a callable; annotations that name nothing at run time stay texts.

    Raises:
        ValueError: it has none, as compiled code may.
    """
    try:
        return inspect.signature(factory, eval_str=True)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return inspect.signature(factory)  # such as types that only a type checker imports


def _signature(factory: Callable[..., Any]) -> Mapping[str, Parameter] | None:
    try:
        return signature_of(factory).parameters
    except ValueError:
        return None


def _check_names(
    signature: Mapping[str, Parameter], params: Mapping[str, Any], given: Collection[str]
) -> None:
    taken = {
        name: parameter
        for name, parameter in signature.items()
        if name not in given and parameter.kind in _BY_KEYWORD
    }
    takes_any = any(item.kind is Parameter.VAR_KEYWORD for item in signature.values())
    unknown = [name for name in params if name not in taken and not takes_any]
    if unknown:
        known = ", ".join(taken)
        raise FormatError(f"unknown parameter {unknown[0][:80]!r}", expected=known or "none")
    for name, parameter in taken.items():
        if parameter.default is Parameter.empty and name not in params:
            raise FormatError(f"parameter '{name}' is missing")


def _read(kind: Any, value: Any, name: str) -> Any:
    return read_value(kind, _as_lists(value), name) if _is_json_type(kind) else value


def _as_lists(value: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _is_json_type(kind: Any) -> bool:
    """Whether the values of a type are JSON's; others are for the factory to judge."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None:
        return kind in _JSON_TYPES
    if origin is Literal:
        return True
    if origin is Annotated:
        return _is_json_type(arguments[0])
    if origin in (Union, types.UnionType) or _is_container(origin):
        return all(item is Ellipsis or _is_json_type(item) for item in arguments)
    return False


def _is_container(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence | Mapping)
