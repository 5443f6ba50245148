"""A chain whose state is carried from one call to the next: streams of audio, recurrent models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

from backends.contract import Array, Specs, TensorError, Tensors, check_inputs
from deploy.runtime.bundle.manifest import StateTensor
from deploy.runtime.execution.chain import Chain


class StatefulChain:
    """The calls of one stream; any number of them may share a chain, each with its own state.

    Threads take turns, since each call needs the state that the one before it left.

    Args:
        chain: takes and gives the state as tensors.
        inputs: of the chain.
        state: the tensors that are carried.
        initial: their values before the first call, by the names of the chain's inputs.
    """

    def __init__(
        self, chain: Chain, inputs: Specs, state: Sequence[StateTensor], initial: Tensors
    ) -> None:
        self._chain = chain
        self._state = state
        self._specs = {spec.name: spec for spec in inputs}
        self._given = tuple(spec for spec in inputs if spec.name not in initial)
        self._initial = dict(initial)
        self._values = dict(initial)
        self._turn = Lock()

    def __call__(
        self, inputs: Tensors, seconds: dict[str, float] | None = None
    ) -> dict[str, Array]:
        """Run the chain, and keep the new state. After an error the state is the one before.

        Args:
            inputs: each input of the chain that is not state.
            seconds: gets the seconds of each step.

        Returns:
            The outputs of the chain that are not state.

        Raises:
            TensorError, EngineError, HostStepError: as of ``Chain``; an input is state.
        """
        names = inputs.keys() if isinstance(inputs, Mapping) else set[str]()
        if carried := sorted(self._values.keys() & names):
            raise TensorError(
                f"inputs {', '.join(carried)}",
                expected="no state: it is carried between the calls",
                got="values for it",
                do="Leave them out; the values of pipeline.open_stream() may be set.",
            )
        arrays = check_inputs(self._given, inputs)
        given = {spec.name: array for spec, array in zip(self._given, arrays, strict=True)}
        with self._turn:
            tensors = {**given, **self._values}
            outputs = (
                self._chain(tensors) if seconds is None else self._chain.timed(tensors, seconds)
            )
            self._values = {
                tensor.input: outputs.pop(tensor.output).astype(
                    self._specs[tensor.input].dtype, copy=False
                )
                for tensor in self._state
            }
        return outputs

    def reset(self) -> None:
        """Begin a new stream: the state is again as it was before the first call."""
        with self._turn:
            self._values = dict(self._initial)

    @property
    def values(self) -> Mapping[str, Array]:
        """The state now, by the names of the chain's inputs; may be set, to go on elsewhere."""
        return dict(self._values)

    @values.setter
    def values(self, values: Tensors) -> None:
        specs = tuple(self._specs[tensor.input] for tensor in self._state)
        arrays = check_inputs(specs, values)
        with self._turn:
            self._values = {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
