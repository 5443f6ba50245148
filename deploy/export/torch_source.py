"""PyTorch code as the source: exported with marks and rewrites; the reference has no rewrites."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backends.acceptance import Tolerance
from backends.contract import Array, Tensors
from backends.process.garbage import no_garbage_collection
from deploy.export.build_model import build_model
from deploy.export.export_failures import FAILURES, ExportError
from deploy.export.fingerprint import installed_versions, loaded_code, versions
from deploy.export.forward_check import check_forward
from deploy.export.module_marks import mark_modules
from deploy.export.module_state import restored_state
from deploy.export.noise_floor import noise_floors, torch_values_otherwise
from deploy.export.onnx_export import eager_outputs, export, reference_values
from deploy.export.rewrites import applicable_rewrites, apply_rewrites, collect_rewrites
from deploy.export.stateful_model import StatefulModel
from deploy.graph.exported import Exported
from deploy.recipe.dynamic_shapes import dynamic_axes
from deploy.recipe.schema import InputRecipe, ModelRecipe, RecipeError
from deploy.recipe.state import state_pairs, state_paths, zero_state

# fields of the recipe that do not affect an export
_NOT_EXPORTED = dict.fromkeys(
    # the tensors that a file of weights gave the model count, not where they were read
    ("samples", "eval", "classes", "pre", "post", "seed", "weights", "sha256", "readers")
)


# distributions whose versions affect an export
_EXPORTERS = ("torch", "onnxscript", "onnx", "onnx-ir", "numpy")
_KNOWN = {"torch", "deploy", "backends"}  # packages whose version or code counts in any case


class TorchSource:
    """A ``torch.nn.Module`` with marks on its modules, and the rewrites for the backends in use.

    Each call and each export leave the model's state as it was: some models keep what a call made.

    Attributes:
        recipe: the model's recipe, with the tensors of its state among the inputs.
    """

    def __init__(self, recipe: ModelRecipe, backends: Collection[str]) -> None:
        self._model = build_model(recipe)
        self._stateful = StatefulModel(self._model, list(recipe.inputs), state_paths(recipe))
        self.recipe = self._recipe = _with_state_inputs(recipe, self._stateful.initial_state)
        self._rewrites = applicable_rewrites(collect_rewrites(recipe.rewrites), backends)

    def identity(self) -> dict[str, Any]:
        """See ``Source``: the recipe, the model's tensors and settings, and all code it may use."""
        packages = {type(module).__module__.partition(".")[0] for module in self._model.modules()}
        return {
            "recipe": {**asdict(self._recipe), **_NOT_EXPORTED},
            "rewrites": [f"{rewrite.target} by {rewrite}" for rewrite in self._rewrites],
            "module": model_identity(self._model),
            "code": loaded_code(),
            "versions": {
                "torch itself": str(torch.__version__),
                **versions(_EXPORTERS),
                **installed_versions(sorted(packages - _KNOWN)),
            },
        }

    @no_garbage_collection()
    def export(self, inputs: Tensors, out: Path) -> Exported:
        """See ``Source``."""
        with self._prepared(rewritten=False):
            check_forward(self._model, self._outputs, _to_torch(inputs))
        with self._prepared(rewritten=True):
            return export(self._called, _to_torch(inputs), out, dynamic_axes(self._recipe))

    def initial_state(self) -> dict[str, Array]:
        """See ``Source``; of a buffer its own value, else zeros."""
        return {**zero_state(self.recipe), **_to_numpy(self._stateful.initial_state)}

    def with_state(self, inputs: Tensors) -> dict[str, Array]:
        """See ``Source``: the state is that after a call, since a first one is often zeros."""
        initial = self.initial_state()
        if not initial:
            return dict(inputs)
        with self._prepared(rewritten=False):
            outputs = _to_numpy(self._outputs(_to_torch({**inputs, **initial})))
        for name, after in state_pairs(self.recipe).items():
            if after not in outputs:
                raise RecipeError(
                    f"model.state.{name}",
                    expected=f"an output of the model ({', '.join(outputs)})",
                    got=after,
                )
        pairs = state_pairs(self.recipe).items()
        return {**inputs, **{name: outputs[after] for name, after in pairs}}

    @property
    def _called(self) -> nn.Module:
        """What takes all inputs: the model, or where it has a state the module around it."""
        return self._around(self._model)

    def _around(self, model: nn.Module) -> nn.Module:
        paths = state_paths(self._recipe)
        names = [name for name in self._recipe.inputs if name not in paths]
        return StatefulModel(model, names, paths) if paths else model

    def _outputs(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return eager_outputs(self._called, inputs)

    def reference(self, points: Mapping[str, str], out: Path) -> TorchReference:
        """See ``Source``."""
        return TorchReference(self, points)

    def values(self, inputs: Tensors, *, rewritten: bool) -> dict[str, Array]:
        """The eager model's value of every point, input and output, with or without rewrites."""
        with self._prepared(rewritten=rewritten):
            return reference_values(self._called, _to_torch(inputs))

    def values_otherwise(self, inputs: Tensors) -> dict[str, Array]:
        """The values of the model without rewrites, computed in another precision or order."""

        def run(model: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Array]:
            with mark_modules(model, self._recipe.marks), restored_state(model):
                return reference_values(self._around(model), given)

        return torch_values_otherwise(self._model, _to_torch(inputs), run)

    @contextmanager
    def _prepared(self, *, rewritten: bool) -> Iterator[None]:
        with ExitStack() as stack:
            if rewritten:
                stack.enter_context(apply_rewrites(self._model, self._rewrites))
            stack.enter_context(mark_modules(self._model, self._recipe.marks))
            stack.enter_context(restored_state(self._model))
            yield


class TorchReference:
    """The eager model as the reference; see ``Reference``.

    Values come from the model without rewrites, so that a wrong rewrite is detected. Only points
    that exist in rewritten code alone have their values from the rewritten model.

    Attributes:
        name: what computes the values, for people.
    """

    name = "PyTorch"

    def __init__(self, source: TorchSource, points: Mapping[str, str]) -> None:
        self._source = source
        self._points = points

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The value of every tensor of the chain, by name, for these inputs of the model.

        Raises:
            ExportError: the model does not reach a point of the chain with these inputs.
        """
        values = self._source.values(inputs, rewritten=False)
        if not values.keys() >= set(self._points.values()):
            values = self._source.values(inputs, rewritten=True) | values
        for point in self._points.values():
            if point not in values:
                raise _not_reached(point, values)
        return {tensor: values[point] for tensor, point in self._points.items()}

    def floors(self, inputs: Tensors, values: Tensors) -> dict[str, Tolerance]:
        """See ``Reference``."""
        others = self._source.values_otherwise(inputs)
        by_tensor = {name: others[at] for name, at in self._points.items() if at in others}
        return noise_floors(values, by_tensor)


def _not_reached(point: str, values: Collection[str]) -> ExportError:
    near = difflib.get_close_matches(point, values, n=3)
    return ExportError(
        f"the model does not reach '{point}' when it runs on the sample",
        expected="the control flow of its export",
        got="another one: forward branches on the values of the inputs",
        do="Choose other samples with model.inputs.NAME.range, or cut elsewhere."
        + (f" It does reach {', '.join(near)}." if near else ""),
    )


def _with_state_inputs(recipe: ModelRecipe, state: Mapping[str, Tensor]) -> ModelRecipe:
    inputs = {
        name: InputRecipe(list(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in state.items()
    }
    return replace(recipe, inputs={**recipe.inputs, **inputs})


def _to_torch(inputs: Tensors) -> dict[str, torch.Tensor]:
    """Copies, since a forward may change its inputs in place."""
    return {name: torch.from_numpy(value.copy()) for name, value in inputs.items()}


def _to_numpy(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: value.detach().cpu().numpy() for name, value in tensors.items()}


_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))


def model_identity(model: nn.Module) -> str:
    """The SHA-256 of a model's structure, its settings and all its tensors, without its code.

    A setting is any other attribute of a module. It counts by its ``repr``, unless that contains a
    memory address, which differs between processes; where its ``repr`` fails, by its attributes.
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
        if key not in _MODULE_ATTRIBUTES and not isinstance(value, Tensor | nn.Module):
            text = _text(sorted(map(_text, value)) if isinstance(value, set | frozenset) else value)
            if " at 0x" not in text:
                yield key, f"{type(value).__qualname__} {text}"


def _text(value: Any) -> str:
    """The ``repr``; of an object whose own fails, that of its attributes."""
    try:
        return repr(value)
    except FAILURES:  # such as that of MMDetection's YOLOAnchorGenerator
        attributes = getattr(value, "__dict__", {})
    try:
        return repr(attributes)
    except FAILURES:
        return ""


def _hash_tensor(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    header = f"{tensor.dtype}{list(tensor.shape)} ".encode()
    return header + hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()
