"""A session of ONNX Runtime on a GPU, whose inputs and outputs stay in device memory."""

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

    A session has a stream of its own and waits for it at the end of each run. Its outputs are
    therefore complete, in whatever stream the next step works.

    Attributes:
        device: such as ``cuda:0``.
    """

    def __init__(
        self, session: ort.InferenceSession, inputs: Specs, outputs: Specs, gpu: int
    ) -> None:
        self.device = f"cuda:{gpu}"
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
        """None: a session does not expose its own stream."""
        return None

    def upload(self, inputs: Tensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        tensors = {}
        for name, array in inputs.items():
            check_tensor(self._inputs[name], array.dtype, array.shape)
            with _engine_errors():
                value = ort.OrtValue.ortvalue_from_numpy(
                    np.ascontiguousarray(array), "cuda", self._gpu
                )
            tensors[name] = self._device_tensor(value, self._inputs[name].dtype)
        return tensors

    def run(self, inputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        if self._session is None:
            raise EngineError("the ONNX Runtime runner is closed")
        if stream is not None:
            stream.synchronize()  # it may still be computing the inputs
        with _engine_errors():
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
            name: self._device_tensor(value, self._outputs[name].dtype)
            for name, value in values.items()
        }

    def download(self, outputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, Array]:
        """See ``DeviceRunner``."""
        with _engine_errors():
            return {name: _value(tensor).numpy() for name, tensor in outputs.items()}

    def _device_tensor(self, value: ort.OrtValue, dtype: str) -> DeviceTensor:
        return DeviceTensor(self.device, dtype, tuple(value.shape()), value.data_ptr(), value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None


def _value(tensor: DeviceTensor) -> ort.OrtValue:
    if not isinstance(tensor.owner, ort.OrtValue):
        raise EngineError("this tensor was not made by ONNX Runtime")
    return tensor.owner


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise EngineError(f"ONNX Runtime failed: {error}") from error
