"""Host code compiled by numba, where it is installed; the extra is ``fast``."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, update_wrapper
from importlib.util import find_spec
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from backends.contract import Array, TensorError
from deploy.runtime.vision.argument_rules import ArrayOf, Each, Number, Rule, Sizes

F = TypeVar("F", bound=Callable[..., Any])

_NOTICE_AFTER = 1.5  # seconds; machine code that is cached loads faster
_log = logging.getLogger(__name__)
_OFF = "DEPLOY_NO_COMPILE"  # in the environment, with any text


def can_compile() -> bool:
    """Whether numba is installed, and the environment does not forbid it; it is not imported."""
    return not os.environ.get(_OFF) and _is_installed()


@cache
def _is_installed() -> bool:
    return find_spec("numba") is not None


@contextmanager
def without_compiling() -> Iterator[None]:
    """Run host steps in NumPy, also in processes that are started in this block.

    The first compilation takes half a minute, which only many pictures are worth.
    """
    with in_environment(_OFF):
        yield


@contextmanager
def in_environment(name: str) -> Iterator[None]:
    """Set a variable of the environment in this block, also for processes started in it."""
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def compiled(function: F) -> F:
    """The function as machine code, compiled at the first call and cached in ``__pycache__``.

    Machine code does not check its indices (docs/adr/0022 has the reason). Therefore every argument
    declares what the code relies on, and a call from Python is checked against it before the code
    runs: dtypes, ranks, sizes, and that indices are within their array. The
    function promises to stay within its arrays for all arguments that its declarations accept.
    Calls from other compiled functions are not checked, so these must keep the declarations.

    It releases the interpreter's lock. Where no cache folder can be written, each process compiles
    it again.

    Args:
        function: every argument is annotated: numbers, tuples of them, and arrays as
            ``Annotated[Array, ArrayOf("float32", "n", 4)]``.

    Raises:
        TypeError: an argument declares nothing.
    """
    return cast(F, CompiledFunction(function))


class CompiledFunction:
    """Machine code that checks its arguments when Python calls it; see ``compiled``.

    Attributes:
        machine_code: what numba makes of the function; it checks nothing.
        rules: what each argument is to be, by name.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.machine_code = _machine_code(function)
        self.rules = declared_rules(function)
        self._name = function.__name__
        self._is_loaded = False
        update_wrapper(self, function)

    @property
    def _numba_type_(self) -> Any:
        """By this numba takes the machine code where another compiled function calls this one."""
        return self.machine_code._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        """Run the machine code.

        Raises:
            TensorError: an argument is not as declared; the text names it.
        """
        if len(arguments) != len(self.rules):
            raise TensorError(
                f"arguments of {self._name}", expected=str(len(self.rules)), got=str(len(arguments))
            )
        sizes: Sizes = {}
        for (name, rule), argument in zip(self.rules.items(), arguments, strict=True):
            if fault := rule.fault(argument, sizes):
                raise TensorError(f"{name} of {self._name}", expected=str(rule), got=fault)
        if self._is_loaded:
            return self.machine_code(*arguments)
        with _noticed_if_long():
            result = self.machine_code(*arguments)
        self._is_loaded = True
        return result


@contextmanager
def _noticed_if_long() -> Iterator[None]:
    """Say what a block waits for, unless it is short."""
    text = "compiling host steps to machine code, once per installation: up to half a minute"
    timer = threading.Timer(_NOTICE_AFTER, _log.warning, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def declared_rules(function: Callable[..., Any]) -> dict[str, Rule]:
    """What each argument of a function declares.

    Raises:
        TypeError: an argument declares nothing.
    """
    code = function.__code__
    hints = get_type_hints(function, include_extras=True)
    names = code.co_varnames[: code.co_argcount]
    rules = {name: _rule(hints.get(name)) for name in names}
    for name, rule in rules.items():
        if rule is None:
            raise TypeError(f"argument '{name}' of {function.__name__} declares no rule")
    return cast(dict[str, Rule], rules)


def _rule(hint: Any) -> Rule | None:
    if hint in (int, float, np.float32):
        return Number(whole=hint is int)
    if get_origin(hint) is Annotated:
        return next((item for item in get_args(hint) if isinstance(item, ArrayOf | Each)), None)
    items = get_args(hint)
    if get_origin(hint) is tuple and items and len(set(items)) == 1 and items[0] in (int, float):
        return Each(len(items), Number(whole=items[0] is int))
    return None


def import_compiler() -> None:
    """Import numba: the first half of what loading machine code takes."""
    import numba  # noqa: F401


def _machine_code(function: Callable[..., Any]) -> Any:
    import numba  # takes half a second, and is optional

    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # numba finds no folder that it can write
        return numba.njit(function, nogil=True, error_model="numpy")


def as_compiled(array: Array, dtype: npt.DTypeLike) -> Array:
    """The array in the layout for which the code is compiled; another one compiles it again."""
    contiguous = np.ascontiguousarray(array, dtype)
    return contiguous if contiguous.flags.writeable else contiguous.copy()
