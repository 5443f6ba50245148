"""The optimization profile of a plan, and the check of the network against the segment."""

from __future__ import annotations

import tensorrt as trt

from backends.contract import ConversionError, Dim, Dynamic, Segment, Specs, TensorSpec

_DTYPES = {
    "float32": trt.DataType.FLOAT,
    "float16": trt.DataType.HALF,
    "int8": trt.DataType.INT8,
    "uint8": trt.DataType.UINT8,
    "int32": trt.DataType.INT32,
    "int64": trt.DataType.INT64,
    "bool": trt.DataType.BOOL,
}


def check_network(segment: Segment, network: trt.INetworkDefinition) -> None:
    """Refuse a network whose tensors differ from the segment's specs.

    Raises:
        ConversionError: another tensor, dtype or size, or an input whose values determine shapes.
    """
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    _check_tensors(segment.name, segment.inputs, inputs)
    _check_tensors(segment.name, segment.outputs, outputs)
    for tensor in inputs:
        if tensor.is_shape_tensor:
            raise ConversionError(
                f"segment '{segment.name}': the values of input '{tensor.name}' decide shapes",
                do="Cut so that it stays inside, or choose another backend for this segment.",
            )


def add_profile(segment: Segment, builder: trt.Builder, config: trt.IBuilderConfig) -> None:
    """Give the builder the sizes of the dynamic inputs.

    Raises:
        ConversionError: TensorRT does not accept them.
    """
    if not any(isinstance(dim, Dynamic) for spec in segment.inputs for dim in spec.dims):
        return
    profile = builder.create_optimization_profile()
    for spec in segment.inputs:
        profile.set_shape(spec.name, *(_shape(spec, bound) for bound in ("min", "opt", "max")))
    if config.add_optimization_profile(profile) < 0:
        sizes = ", ".join(f"{spec.name} {spec}" for spec in segment.inputs)
        raise ConversionError(f"segment '{segment.name}': TensorRT does not accept sizes {sizes}")


def sizes_of(dims: trt.Dims) -> tuple[int, ...]:
    """TensorRT's sizes as a tuple; -1 is a size that is not known yet."""
    return tuple(dims[axis] for axis in range(len(dims)))


def _shape(spec: TensorSpec, bound: str) -> trt.Dims:
    return trt.Dims([_size(dim, bound) for dim in spec.dims])


def _size(dim: Dim, bound: str) -> int:
    if isinstance(dim, int):
        return dim
    # a chain does not call an engine for an empty tensor
    return max(1, {"min": dim.min, "opt": dim.opt, "max": dim.max}[bound])


def _check_tensors(segment: str, specs: Specs, tensors: list[trt.ITensor]) -> None:
    by_name = {tensor.name: tensor for tensor in tensors}
    if by_name.keys() != {spec.name for spec in specs}:
        raise ConversionError(
            f"segment '{segment}': TensorRT's network has other tensors",
            expected=", ".join(spec.name for spec in specs),
            got=", ".join(by_name),
        )
    for spec in specs:
        tensor = by_name[spec.name]
        sizes = sizes_of(tensor.shape)
        if _DTYPES.get(spec.dtype) != tensor.dtype or not _same_sizes(spec, sizes):
            raise ConversionError(
                f"segment '{segment}': tensor '{spec.name}' in TensorRT",
                expected=str(spec),
                got=f"{tensor.dtype} {list(sizes)}",
                do="Choose another backend for this segment.",
            )


def _same_sizes(spec: TensorSpec, sizes: tuple[int, ...]) -> bool:
    return spec.shape is None or (
        len(sizes) == len(spec.shape)
        and all(_fits(dim, size) for dim, size in zip(spec.shape, sizes, strict=True))
    )


def _fits(dim: Dim, size: int) -> bool:
    """Whether a size of the network fits the spec's dimension; -1 is any size."""
    return size == -1 or (dim == size if isinstance(dim, int) else dim.min <= size <= dim.max)
