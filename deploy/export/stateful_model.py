"""A model whose state is an input and an output, for state that it keeps between calls."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from deploy.export.module_state import TensorAttribute, find_tensor
from deploy.export.nested_tensors import named_tensors
from deploy.recipe.schema import RecipeError
from deploy.recipe.state import next_name


class StatefulModel(nn.Module):
    """Calls a model with its state as further inputs, and returns the new state beside its outputs.

    Args:
        model: the model, whose state is put back after each call.
        inputs: the names of its inputs, in the order of the arguments of ``forward``; or all of
            them parameters of ``forward``.
        state: the path of each tensor of its state, by the name of the new input.

    Examples:
        >>> import torch
        >>> model = nn.BatchNorm1d(2)
        >>> stateful = StatefulModel(model, ["input"], {"running_mean": "running_mean"})
        >>> sorted(stateful(torch.ones(3, 2), torch.zeros(2)))
        ['output', 'running_mean_next']
    """

    def __init__(self, model: nn.Module, inputs: Sequence[str], state: Mapping[str, str]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._names = list(inputs)
        self._by_name = set(inputs) <= inspect.signature(model.forward).parameters.keys()
        self._places = {name: _find(model, path) for name, path in state.items()}
        count = len(inputs) + len(state)
        kind = inspect.Parameter.POSITIONAL_ONLY
        parameters = [inspect.Parameter(f"tensor{number}", kind) for number in range(count)]

        def forward(*tensors: Tensor) -> dict[str, Tensor]:
            return self._call(tensors)

        # the exporter needs a name for each tensor, and takes it from the signature
        forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        self.forward = forward

    @property
    def initial_state(self) -> dict[str, Tensor]:
        """A copy of the state that the model has now, by the names of the inputs."""
        return {name: place.value.detach().clone() for name, place in self._places.items()}

    def _call(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        inputs = dict(zip(self._names, tensors, strict=False))
        states = dict(zip(self._places, tensors[len(inputs) :], strict=True))
        before = {name: place.value for name, place in self._places.items()}
        try:
            self._install({name: state.clone() for name, state in states.items()})
            result = self.model(**inputs) if self._by_name else self.model(*inputs.values())
            after = {next_name(name): place.value for name, place in self._places.items()}
        finally:
            self._install(before)
        return {**dict(named_tensors(result, "output")), **after}

    def _install(self, states: Mapping[str, Tensor]) -> None:
        for name, place in self._places.items():
            place.assign(states[name])


def _find(model: nn.Module, path: str) -> TensorAttribute:
    place = find_tensor(model, path)
    if place is None:
        names = [name for name, _ in model.named_buffers()][:20]
        raise RecipeError(
            f"model.state '{path}'",
            expected=f"a tensor that the model keeps ({', '.join(names) or 'no buffers'})",
            got="nothing, or no tensor",
            do="Name a buffer, or an attribute that is a tensor before the first call.",
        )
    return place
