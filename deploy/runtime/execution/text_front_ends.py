"""What makes the inputs of a chain of a text, found by a registered id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from backends.codec import FormatError
from backends.contract import Array, DeployError, Dynamic, Specs
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.execution.registered import all_registered, find_registered, shipped_table
from deploy.runtime.execution.step_params import read_params

TextFrontEnd = Callable[[str], dict[str, Array]]
"""From a text to a value of each input of the chain, with one row; may be called from threads.

Raises ``TextError`` for a text that the model cannot take. No error text carries the text.
"""


TextFrontEndFactory = Callable[..., TextFrontEnd]
"""Creates a front end from ``inputs``, the specs of the chain's inputs, from ``classes``, the names
of the tokens, and from its parameters.

Example::

    class Bytes:
        def __init__(self, inputs: Specs, classes: Sequence[str], pad: int = 0) -> None:
            self.length, self.pad = inputs[0].typical[1], pad

        def __call__(self, text: str) -> dict[str, Array]:
            data = text.encode()[: self.length].ljust(self.length, bytes([self.pad]))
            return {"bytes": np.frombuffer(data, np.uint8)[None].astype(np.int64)}
"""

_ENTRY_POINTS = "deploy.text_front_ends"
_GIVEN = ("inputs", "classes")
_MOST_ELEMENTS = 1 << 24  # of an input for a short text


class TextError(DeployError):
    """A text that a model cannot take."""


class TextFrontEndError(DeployError):
    """A text front end that does not exist, not with these parameters, or not for this chain."""


def make_text_front_end(manifest: Manifest) -> TextFrontEnd:
    """The text front end of a bundle.

    Args:
        manifest: of the bundle, which names one.

    Raises:
        TextFrontEndError: nothing is registered under its id, it does not take its parameters, or
            it does not suit the inputs of the chain or the vocabulary.
    """
    assert manifest.text is not None, "the caller has looked"
    id, factory = manifest.text.id, text_front_end_factory(manifest.text.id)
    params = _arguments(factory, id, manifest.text.params)
    inputs = manifest.caller_inputs
    _check_size(inputs)
    try:
        front_end = factory(inputs=inputs, classes=manifest.classes, **params)
    except DeployError:
        raise
    except Exception as error:  # whatever it is, the front end is to be named
        raise TextFrontEndError(f"text front end '{id}': {type(error).__name__}") from error
    return lambda text: _filled(front_end(_checked(text)), inputs)


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise TextError("text", expected="a str", got=type(text).__name__)
    return text


def check_text_front_end(id: str, params: Mapping[str, Any]) -> None:
    """Check the parameters of a text front end without creating it.

    Raises:
        TextFrontEndError: nothing is registered under this id, or it does not take the parameters.
    """
    _arguments(text_front_end_factory(id), id, params)


def registered_text_front_ends() -> dict[str, TextFrontEndFactory]:
    """Every text front end of this package, and of installed ones."""
    return all_registered(_shipped(), _ENTRY_POINTS)


def _shipped() -> Mapping[str, TextFrontEndFactory]:
    return shipped_table("text", "TEXT_FRONT_ENDS")


def text_front_end_factory(id: str) -> TextFrontEndFactory:
    """The factory that is registered under an id.

    Raises:
        TextFrontEndError: nothing is registered under it.
    """
    registered, known = find_registered(id, _shipped(), _ENTRY_POINTS)
    if registered is None:
        raise TextFrontEndError(
            f"text front end '{id[:200]}'",
            expected=f"one of {', '.join(sorted(known))}",
            got=id[:200],
            do="Code of your own is installed as an entry point of that name in the group "
            f"{_ENTRY_POINTS}.",
        )
    factory: TextFrontEndFactory = registered
    return factory


def _arguments(factory: TextFrontEndFactory, id: str, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return read_params(factory, params, given=_GIVEN)
    except FormatError as error:
        raise TextFrontEndError(
            f"text front end '{id}' does not take its parameters: {error}"
        ) from error


def _filled(tensors: Mapping[str, Array], inputs: Specs) -> dict[str, Array]:
    """The tensors with their row repeated where the chain takes batches of several rows only."""
    least = {spec.name: _least(spec.dims[0]) for spec in inputs if spec.dims}
    return {
        name: np.repeat(array, least[name], axis=0)
        if least.get(name, 1) > 1 and array.shape[:1] == (1,)
        else array
        for name, array in tensors.items()
    }


def _check_size(inputs: Specs) -> None:
    """Refuse inputs that take all memory for any text; a manifest is a stranger's."""
    for spec in inputs:
        if prod(map(_least, spec.dims)) > _MOST_ELEMENTS:
            raise TextFrontEndError(
                f"input '{spec.name}' of a text",
                expected=f"at most {_MOST_ELEMENTS:,} elements",
                got=str(spec),
            )


def _least(dim: int | Dynamic) -> int:
    return dim.min if isinstance(dim, Dynamic) else dim
