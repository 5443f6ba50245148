"""ONNX Runtime on a GPU: tensors come and go by their addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import onnxruntime as ort

from backends.contract import Array, EngineError, Specs, Tensors, check_inputs, check_tensor
from backends.device import DeviceStream, DeviceTensor, DeviceTensors
from backends.onnxruntime.session import FAILURES


class OrtCudaRunner:
    """A session on a GPU; see ``DeviceRunner``.

    A session has a stream of its own and waits for it at the end of each run, so that a tensor
    which it leaves is there, whatever stream the next step works in.

    Attributes:
        place: such as ``cuda:0``.
    """

    def __init__(
        self, session: ort.InferenceSession, inputs: Specs, outputs: Specs, gpu: int
    ) -> None:
        self.place = f"cuda:{gpu}"
        self._session: ort.InferenceSession | None = session
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = {spec.name: spec for spec in outputs}
        self._gpu = gpu

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once; see ``Runner``."""
        arrays = check_inputs(tuple(self._inputs.values()), inputs)
        named = dict(zip(self._inputs, arrays, strict=True))
        return self.download(self.run(self.upload(named, None), None), None)

    def stream(self) -> DeviceStream | None:
        """None: the session's own cannot be had."""
        return None

    def upload(self, inputs: Tensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        made = {}
        for name, array in inputs.items():
            check_tensor(self._inputs[name], array.dtype, array.shape)
            with _reported():
                value = ort.OrtValue.ortvalue_from_numpy(
                    np.ascontiguousarray(array), "cuda", self._gpu
                )
            made[name] = self._lent(value, self._inputs[name].dtype)
        return made

    def run(self, inputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        if self._session is None:
            raise EngineError("the ONNX Runtime runner is closed")
        if stream is not None:
            stream.synchronize()  # the inputs may still be in the making there
        with _reported():
            binding = self._session.io_binding()
            for name, spec in self._inputs.items():
                tensor = inputs[name]
                check_tensor(spec, tensor.dtype, tensor.shape)
                binding.bind_input(
                    name, "cuda", self._gpu, np.dtype(spec.dtype), tensor.shape, tensor.pointer
                )
            for name in self._outputs:
                binding.bind_output(name, "cuda", self._gpu)
            self._session.run_with_iobinding(binding)
            values = dict(zip(self._outputs, binding.get_outputs(), strict=True))
        return {
            name: self._lent(value, self._outputs[name].dtype) for name, value in values.items()
        }

    def download(self, outputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, Array]:
        """See ``DeviceRunner``."""
        with _reported():
            return {name: _owner(tensor).numpy() for name, tensor in outputs.items()}

    def _lent(self, value: ort.OrtValue, dtype: str) -> DeviceTensor:
        return DeviceTensor(self.place, dtype, tuple(value.shape()), value.data_ptr(), value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None


def _owner(tensor: DeviceTensor) -> ort.OrtValue:
    if not isinstance(tensor.owner, ort.OrtValue):
        raise EngineError("this tensor is not of ONNX Runtime's making")
    return tensor.owner


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise EngineError(f"ONNX Runtime failed: {error}") from error
