"""The device half: loads a converted net and runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np

from backends.contract import Array, Artifact, EngineError, Specs, Tensors, TensorSpec, check_inputs
from backends.files import utf8_path
from backends.ncnn import Options, one_row_shape, runs_row_by_row
from backends.ncnn.checking import NO_BATCH, Net, check_net, read_axes
from backends.ncnn.library import ncnn
from backends.ncnn.vulkan import GpuMemory, check_gpu_options, choose_gpu, layer_note
from backends.options import clamp_threads, parse_options

# layers that never write to their bottom, nor pass it on as their top
_READ_ONLY_LAYERS = (
    "Convolution",
    "ConvolutionDepthWise",
    "Deconvolution",
    "InnerProduct",
    "Concat",
)
_ALIGNMENT = 16  # bytes that the engine's vector instructions load at once


def load(artifact: Artifact, root: Path) -> NcnnRunner:
    """Load a ``.param`` file, its ``.bin`` and the batch axes of its blobs.

    Raises:
        EngineError: a file is missing or damaged, does not fit the tensors of the artifact, or
            needs layers that this ncnn does not have; or the GPU is not there, or lacks fp16.
    """
    if len(artifact.files) != 3:
        raise EngineError("an ncnn artifact", expected="3 files", got=str(len(artifact.files)))
    param, weights, axes_file = (root / name for name in artifact.files)
    axes = read_axes(axes_file, artifact.inputs, artifact.outputs)
    checked = check_net(param, weights, artifact.inputs, artifact.outputs, axes, has_layer)
    options = parse_options(Options, artifact.options, artifact.backend)
    net = ncnn.Net()
    configure(net.opt, options)
    if options.device == "vulkan":
        choose_gpu(net, options.gpu)
    with utf8_path(param) as file:
        if net.load_param(str(file)) != 0:
            raise EngineError(f"'{param.name}' does not load in ncnn {ncnn.__version__}")
    if options.device == "vulkan":
        check_gpu_options(net, options.gpu, options.fp16)
    with utf8_path(weights) as file:
        if net.load_model(str(file)) != 0:
            raise EngineError(f"'{weights.name}' does not fit '{param.name}'", do="Convert again.")
    return NcnnRunner(net, artifact.inputs, artifact.outputs, axes, _read_only_inputs(checked))


def has_layer(kind: str) -> bool:
    """Whether this ncnn has layers of a kind."""
    return bool(ncnn.layer_to_index(kind) >= 0)


class NcnnRunner:
    """A loaded net; each call has an extractor of its own.

    Attributes:
        note: of a net on a GPU, how many of its layers run there.
    """

    def __init__(
        self,
        net: Any,
        inputs: Specs,
        outputs: Specs,
        batch_axes: Mapping[str, int],
        read_only_inputs: Collection[str] = (),
    ) -> None:
        self._net: Any = net
        self._inputs = inputs
        self._outputs = outputs
        self._shapes = [one_row_shape(spec) for spec in outputs]
        self._axes = batch_axes
        self._read_only_inputs = read_only_inputs
        self._by_row = runs_row_by_row(inputs, outputs)
        on_gpu = net.opt.use_vulkan_compute
        self._gpu_memory = GpuMemory(net) if on_gpu else None
        self._one_call = Lock() if on_gpu else nullcontext()
        self.note = layer_note(net) if on_gpu else ""

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once; see ``Runner``."""
        if self._net is None:
            raise EngineError("the ncnn runner is closed")
        arrays = check_inputs(self._inputs, inputs)
        if not self._by_row:
            return self._run(enumerate(arrays), enumerate(self._outputs))
        count = len(arrays[0])
        if not count:
            return {
                spec.name: np.zeros((0, *spec.typical[1:]), spec.dtype) for spec in self._outputs
            }
        rows = [
            self._run(
                enumerate([array[row : row + 1] for array in arrays]), enumerate(self._outputs)
            )
            for row in range(count)
        ]
        return {
            spec.name: np.concatenate([row[spec.name] for row in rows]) for spec in self._outputs
        }

    def compute(self, inputs: Tensors, outputs: Collection[str]) -> dict[str, Array]:
        """Compute some outputs alone, from the inputs that they depend on; one row where it varies.

        Raises:
            EngineError: the engine failed, or an input that they depend on is missing.
        """
        given = (
            (i, inputs[spec.name]) for i, spec in enumerate(self._inputs) if spec.name in inputs
        )
        wanted = ((i, spec) for i, spec in enumerate(self._outputs) if spec.name in outputs)
        return self._run(given, wanted)

    def _run(
        self, inputs: Iterable[tuple[int, Array]], outputs: Iterable[tuple[int, TensorSpec]]
    ) -> dict[str, Array]:
        # a Mat may borrow its array's memory; the arrays live until the extractor is cleared
        arrays = [(index, array if array.ndim else array.reshape(1)) for index, array in inputs]
        mats = [(index, self._mat(f"in{index}", array)) for index, array in arrays]
        with self._one_call:
            extractor = self._net.create_extractor()
            try:
                for index, mat in mats:
                    if extractor.input(f"in{index}", mat) != 0:
                        raise EngineError(f"ncnn does not take '{self._inputs[index].name}'")
                found = [(index, self._extract(extractor, index)) for index, _ in outputs]
            finally:
                extractor.clear()  # an error keeps this frame alive; no blob may outlive the net
        # at the end, since the caches no longer have Python's code after a computation
        return {self._outputs[index].name: self._array(index, mat) for index, mat in found}

    def _mat(self, blob: str, array: Array) -> Any:
        """The array as ncnn's tensor; it borrows the memory where that is safe and aligned."""
        axis = self._axes[blob]
        unbatched = array if axis == NO_BATCH else _only_row(array, axis)
        if unbatched is None:
            return ncnn.Mat(array, batch_index=axis)  # ncnn copies batches itself
        mat = ncnn.Mat(unbatched)
        borrows = blob in self._read_only_inputs and array.ctypes.data % _ALIGNMENT == 0
        return mat if borrows and mat.cstep * mat.elemsize % _ALIGNMENT == 0 else mat.clone()

    def _extract(self, extractor: Any, index: int) -> Any:
        code, mat = extractor.extract(f"out{index}")
        if code != 0:
            name = self._outputs[index].name
            raise EngineError(f"ncnn cannot compute '{name}' (code {code})")
        return mat

    def _array(self, index: int, mat: Any) -> Array:
        name, shape = self._outputs[index].name, self._shapes[index]
        try:
            axis = NO_BATCH if mat.n == 1 else self._axes[f"out{index}"]
            array: Array = mat.numpy(batch_index=axis)  # without a batch the Mat's own memory
        except RuntimeError as error:
            raise EngineError(f"ncnn gives '{name}' as no array: {error}") from error
        if array.size != prod(shape):
            raise EngineError(f"'{name}'", expected=f"shape {list(shape)}", got=str(array.shape))
        return np.asarray(array.reshape(shape), order="C")  # channels may be padded in memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._net is not None:
            self._net.clear()
            if self._gpu_memory is not None:
                self._gpu_memory.release()
        self._net = None


def _only_row(array: Array, batch_axis: int) -> Array | None:
    """A view of the only row of a batch of one; None for another batch."""
    is_one_row = array.ndim > 1 and array.shape[batch_axis] == 1
    return array.squeeze(batch_axis) if is_one_row else None


def _read_only_inputs(net: Net) -> set[str]:
    """The blobs that a single layer reads, and does not write to.

    A layer that works in place would write into the caller's array.
    """
    readers = Counter(blob for layer in net.layers for blob in layer.bottoms)
    return {
        blob
        for layer in net.layers
        if layer.kind in _READ_ONLY_LAYERS
        for blob in layer.bottoms
        if readers[blob] == 1
    }


def configure(opt: Any, options: Options) -> None:
    """Set the engine's options, before a net is loaded."""
    if options.threads:
        opt.num_threads = clamp_threads(options.threads)
    opt.use_vulkan_compute = options.device == "vulkan"
    # fp32 in the file alone is not fp32: ncnn turns these on by default
    opt.use_fp16_packed = opt.use_fp16_storage = opt.use_fp16_arithmetic = options.fp16
    opt.use_bf16_packed = opt.use_bf16_storage = False
    opt.use_int8_packed = opt.use_int8_storage = opt.use_int8_arithmetic = False
    opt.use_int8_inference = False
