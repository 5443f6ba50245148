"""OpenVINO's device half."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from backends.contract import Array, Artifact, EngineError, Specs, Tensors, check_inputs, files_of
from backends.openvino import Options
from backends.openvino.engine import FAILURES, check_ports, engine_message, settings
from backends.openvino.ir import check_ir
from backends.openvino.library import ov
from backends.options import parse_options

_WIDE = ("int64", "uint32", "uint64")  # the engine computes them as int32
_INT32 = np.iinfo(np.int32)


def load(artifact: Artifact, root: Path) -> OpenvinoRunner:
    """Load an ``.xml`` and its ``.bin`` for this machine's CPU.

    Raises:
        EngineError: a file is missing, damaged, not what the converter writes for these tensors,
            or has operators that this OpenVINO lacks.
    """
    options = parse_options(Options, artifact.options, artifact.backend)
    xml, weights_file = files_of(artifact, root, (2,))
    try:
        text, weights = xml.read_bytes(), _memory_map(weights_file)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"'{xml.name}' or '{weights_file.name}' does not open: {error}"
        ) from error
    check_ir(text, xml.name, weights.size)
    try:
        core = ov.Core()
        # from memory, so that only the checked bytes are read, and only as IR
        model = core.read_model(text, ov.Tensor(weights, shared_memory=True))
        check_ports(model.inputs, artifact.inputs)
        check_ports(model.outputs, artifact.outputs)
        compiled = core.compile_model(model, "CPU", settings(options))
    except FAILURES as error:
        raise EngineError(
            f"'{xml.name}' does not load in OpenVINO {ov.get_version()}: {engine_message(error)}"
        ) from error
    return OpenvinoRunner(compiled, artifact.inputs, artifact.outputs, weights)


def _memory_map(path: Path) -> Array:
    """The bytes of a file."""
    if not path.stat().st_size:  # of a net without weights
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, "c")  # the engine refuses what is not writable


class OpenvinoRunner:
    """A compiled model; concurrent calls use separate infer requests."""

    def __init__(
        self, compiled: ov.CompiledModel, inputs: Specs, outputs: Specs, weights: Array
    ) -> None:
        self._compiled: ov.CompiledModel | None = compiled
        self._inputs = inputs
        self._outputs = outputs
        self._weights = weights  # the compiled model may use this memory
        self._idle: deque[ov.InferRequest] = deque()
        self._wide = [index for index, spec in enumerate(inputs) if spec.dtype in _WIDE]
        self._fixed = [
            (index, tuple(port.get_shape()), outputs[index].dtype)
            for index, port in _fixed_outputs(compiled)
        ]

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once; see ``Runner``."""
        compiled = self._compiled
        if compiled is None:
            raise EngineError("the OpenVINO runner is closed")
        arrays = check_inputs(self._inputs, inputs)
        for index in self._wide:
            _check_range(self._inputs[index].name, arrays[index])
        try:
            request = self._request(compiled)
            values = self._infer(request, arrays)
        except FAILURES as error:
            raise EngineError(f"OpenVINO failed: {engine_message(error)}") from error
        self._idle.append(request)
        if self._compiled is None:  # closed by another thread
            self._idle.clear()
        return {spec.name: value for spec, value in zip(self._outputs, values, strict=True)}

    def _infer(self, request: ov.InferRequest, arrays: Sequence[Array]) -> list[Array]:
        """Run a request that reads the arrays where they lie.

        It writes outputs of a fixed shape into new memory. Others are copied, since they lie in
        memory that its next call reuses.
        """
        made = {index: np.empty(shape, dtype) for index, shape, dtype in self._fixed}
        for index, array in made.items():
            request.set_output_tensor(index, ov.Tensor(array, shared_memory=True))
        for index, array in enumerate(arrays):
            given = array if array.flags.carray else array.copy()  # writable and aligned
            request.set_input_tensor(index, ov.Tensor(given, shared_memory=True))
        outputs = request.infer(share_outputs=True).values()
        return [made[at] if at in made else value.copy() for at, value in enumerate(outputs)]

    def _request(self, compiled: ov.CompiledModel) -> ov.InferRequest:
        try:
            return self._idle.pop()
        except IndexError:
            return compiled.create_infer_request()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._compiled = None
        self._idle.clear()


def _fixed_outputs(compiled: ov.CompiledModel) -> Iterator[tuple[int, ov.ConstOutput]]:
    """The outputs of a fixed shape, for which there can be memory before a call.

    An output that is an input has the input's memory.
    """
    taken = {name for port in compiled.inputs for name in port.get_names()}
    for index, port in enumerate(compiled.outputs):
        is_fixed = port.get_partial_shape().is_static and 0 not in port.get_shape()
        if is_fixed and not taken & port.get_names():
            yield index, port


def _check_range(name: str, array: Array) -> None:
    """Refuse values that the engine would silently truncate."""
    if array.size and not _INT32.min <= array.min() <= array.max() <= _INT32.max:
        raise EngineError(
            f"input '{name}': OpenVINO computes {array.dtype} in 32 bits",
            expected=f"{_INT32.min} to {_INT32.max}",
            got=f"{array.min()} to {array.max()}",
            do="Choose another backend for this segment.",
        )
