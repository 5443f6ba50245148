"""PyTorch code as the model: exported with its marks and rewrites, and the reference without."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import torch

from backends.contract import Array, Tensors
from deploy.caching.keys import loaded_code, versions
from deploy.export import ExportError, export, reference
from deploy.exported import Exported
from deploy.hooks import marked
from deploy.identity import model_identity
from deploy.model import build_model
from deploy.recipe import ModelRecipe
from deploy.rewrite import chosen, collect, rewriting
from deploy.shapes import axes

_NOT_EXPORTED = {"samples": None, "eval": None, "classes": None, "pre": None, "post": None}
_EXPORTERS = ("torch", "onnxscript", "onnx", "onnx-ir", "numpy")


class TorchSource:
    """A module, the marks put on it, and the rewrites for the backends in use."""

    def __init__(self, recipe: ModelRecipe, backends: Collection[str]) -> None:
        self._recipe = recipe
        self._model = build_model(recipe)
        self._rewrites = chosen(collect(recipe.rewrites), backends)

    def identity(self) -> dict[str, Any]:
        """See ``Source``: the recipe, the model, and all code that it may consist of."""
        kinds = {type(module).__module__.partition(".")[0] for module in self._model.modules()}
        known = packages_distributions()
        installed = [name for kind in sorted(kinds) for name in known.get(kind, ())]
        return {
            "recipe": {**asdict(self._recipe), **_NOT_EXPORTED},
            "rewrites": [f"{one.target} by {one}" for one in self._rewrites],
            "module": model_identity(self._model),
            "code": loaded_code(),
            "versions": versions([*_EXPORTERS, *installed]),
        }

    def export(self, inputs: Tensors, out: Path) -> Exported:
        """See ``Source``."""
        with self._prepared(rewritten=True):
            return export(self._model, _as_torch(inputs), out, axes(self._recipe))

    def reference(self, points: Mapping[str, str], out: Path) -> TorchReference:
        """See ``Source``."""
        return TorchReference(self, points)

    def values(self, inputs: Tensors, *, rewritten: bool) -> dict[str, Array]:
        """The eager model's value at every point, and of every input and output."""
        with self._prepared(rewritten=rewritten):
            return reference(self._model, _as_torch(inputs))

    @contextmanager
    def _prepared(self, *, rewritten: bool) -> Iterator[None]:
        with ExitStack() as stack:
            if rewritten:
                stack.enter_context(rewriting(self._model, self._rewrites))
            stack.enter_context(marked(self._model, self._recipe.marks))
            yield


class TorchReference:
    """The eager model, seen through a partition.

    Rewrites are held against what they replace: a value comes from the model as it is wherever
    that has one, and from the rewritten model at marks that stand in rewrites alone.

    Attributes:
        name: what it is, for people.
    """

    name = "PyTorch"

    def __init__(self, source: TorchSource, points: Mapping[str, str]) -> None:
        self._source = source
        self._points = points

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The chain's tensors for these model inputs.

        Raises:
            ExportError: on these inputs the model does not come by a point of the chain.
        """
        values = self._source.values(inputs, rewritten=False)
        if not values.keys() >= set(self._points.values()):
            values = self._source.values(inputs, rewritten=True) | values
        for point in self._points.values():
            if point not in values:
                raise _unreached(point, values)
        return {tensor: values[point] for tensor, point in self._points.items()}


def _unreached(point: str, values: Collection[str]) -> ExportError:
    near = difflib.get_close_matches(point, values, n=3)
    return ExportError(
        f"the model does not reach '{point}' when it runs on the sample",
        expected="the way that its export takes",
        got="another: its code looks at the values of the inputs",
        do="Choose other samples with model.inputs.NAME.range, or cut elsewhere."
        + (f" It does reach {', '.join(near)}." if near else ""),
    )


def _as_torch(inputs: Tensors) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in inputs.items()}
