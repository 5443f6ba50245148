"""PyTorch code as the model: exported with its marks and rewrites, and the reference without."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backends.contract import Array, Tensors
from deploy.export.build_model import build_model
from deploy.export.fingerprint import loaded_code, versions
from deploy.export.module_marks import mark_modules
from deploy.export.onnx_export import ExportError, export, reference
from deploy.export.rewrites import applicable_rewrites, collect_rewrites, rewriting
from deploy.graph.exported import Exported
from deploy.recipe.dynamic_shapes import dynamic_axes
from deploy.recipe.schema import ModelRecipe

_NOT_EXPORTED = {"samples": None, "eval": None, "classes": None, "pre": None, "post": None}


_EXPORTERS = ("torch", "onnxscript", "onnx", "onnx-ir", "numpy")


class TorchSource:
    """A module, the marks put on it, and the rewrites for the backends in use."""

    def __init__(self, recipe: ModelRecipe, backends: Collection[str]) -> None:
        self._recipe = recipe
        self._model = build_model(recipe)
        self._rewrites = applicable_rewrites(collect_rewrites(recipe.rewrites), backends)

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
            return export(self._model, _as_torch(inputs), out, dynamic_axes(self._recipe))

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
            stack.enter_context(mark_modules(self._model, self._recipe.marks))
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


_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def model_identity(model: nn.Module) -> str:
    """The SHA-256 of a model's structure, of its settings and of all its tensors.

    Code is not in it. A setting counts by its ``repr``, if that is the same in another process.
    """
    digest = hashlib.sha256(repr(model).encode())
    for name, module in model.named_modules():
        for key, value in _tensors(module):
            digest.update(f"\n{name}.{key} ".encode() + _hash_tensor(value))
        for key, text in _settings(module):
            digest.update(f"\n{name}.{key} {text}".encode())
    return digest.hexdigest()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
    yield from ((key, value) for key, value in vars(module).items() if isinstance(value, Tensor))


def _settings(module: nn.Module) -> Iterator[tuple[str, str]]:
    for key, value in vars(module).items():
        if key not in _OF_EVERY_MODULE and not isinstance(value, Tensor | nn.Module):
            text = repr(sorted(map(repr, value)) if isinstance(value, set | frozenset) else value)
            if " at 0x" not in text:  # an address, another one each time
                yield key, f"{type(value).__qualname__} {text}"


def _hash_tensor(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    kind = f"{tensor.dtype}{list(tensor.shape)} ".encode()
    return kind + hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()
