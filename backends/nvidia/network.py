"""Segment -> network -> plan: parsing, the check of the network, profiles, and the build."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backends.borders import check_border
from backends.contract import ConversionError, Dim, Dynamic, Segment, Specs, TensorSpec
from backends.nvidia.bindings import Bindings, Messages, sizes_of
from backends.nvidia.border import border_obstacle
from backends.nvidia.refusals import refused_nodes
from backends.onnx.model_file import read_without_weights

if TYPE_CHECKING:
    import tensorrt as trt

_MIB = 1 << 20


class BuildOptions(Protocol):
    """The options of a backend that both products' builders have."""

    @property
    def tf32(self) -> bool: ...  # noqa: D102
    @property
    def refit(self) -> bool: ...  # noqa: D102
    @property
    def strip(self) -> bool: ...  # noqa: D102
    @property
    def level(self) -> int: ...  # noqa: D102
    @property
    def workspace_mib(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class ParsedSegment:
    """A segment as a product's network, with all that has to live as long as it.

    Attributes:
        segment: the segment.
        bindings: of the product.
        builder: of the network.
        network: strongly typed: it computes in the dtypes of the graph.
        parser: of the network, which refers to the weights that it has read.
    """

    segment: Segment
    bindings: Bindings
    builder: trt.Builder
    network: trt.INetworkDefinition
    parser: trt.OnnxParser


def parse_segment(bindings: Bindings, segment: Segment) -> ParsedSegment:
    """Parse a segment, and compare the network with it.

    Raises:
        ConversionError: the product does not start, lacks an operator (with the node and its
            reason), or has another tensor, dtype or size than the segment.
    """
    check_border(segment, bindings.product, border_obstacle)
    with bindings.messages.creation_errors(ConversionError):
        builder = bindings.builder(bindings.logger)
    # the only kind of network that TensorRT 10 and 11 and TensorRT for RTX all build
    network = builder.create_network(bindings.typed_network)
    parser = bindings.parser(network, bindings.logger)
    bindings.messages.take()  # those of an earlier segment
    if not parser.parse_from_file(str(segment.onnx)):
        raise _refusal(segment, parser, bindings.messages)
    parsed = ParsedSegment(segment, bindings, builder, network, parser)
    _check_network(parsed)
    return parsed


def configure(parsed: ParsedSegment, options: BuildOptions) -> trt.IBuilderConfig:
    """A configuration of the builder with what both products have."""
    flag, config = parsed.bindings.builder_flag, parsed.builder.create_builder_config()
    flags = {
        flag.TF32: options.tf32,
        flag.REFIT: options.refit,
        flag.STRIP_PLAN: options.strip,
        flag.REFIT_IDENTICAL: options.strip and not options.refit,
    }
    for name, enabled in flags.items():
        if enabled:
            config.set_flag(name)
        else:
            config.clear_flag(name)
    if options.workspace_mib:
        pool = parsed.bindings.memory_pool.WORKSPACE
        config.set_memory_pool_limit(pool, options.workspace_mib * _MIB)
    config.builder_optimization_level = options.level
    return config


def add_profile(parsed: ParsedSegment, config: trt.IBuilderConfig) -> None:
    """Give the builder the sizes of the dynamic inputs.

    Raises:
        ConversionError: the product does not accept them.
    """
    segment, product = parsed.segment, parsed.bindings.product
    if not any(isinstance(dim, Dynamic) for spec in segment.inputs for dim in spec.dims):
        return
    dims = parsed.bindings.dims
    profile = parsed.builder.create_optimization_profile()
    for spec in segment.inputs:
        smallest, typical, largest = (
            dims([_size(dim, bound) for dim in spec.dims]) for bound in ("min", "opt", "max")
        )
        profile.set_shape(spec.name, smallest, typical, largest)
    if config.add_optimization_profile(profile) < 0:
        sizes = ", ".join(f"{spec.name} {spec}" for spec in segment.inputs)
        raise ConversionError(f"segment '{segment.name}': {product} does not accept sizes {sizes}")


def build_plan(parsed: ParsedSegment, config: trt.IBuilderConfig) -> bytes:
    """Build the network.

    Raises:
        ConversionError: no implementation fits; with the product's message.
    """
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    if plan is None:
        raise ConversionError(
            f"segment '{parsed.segment.name}': {parsed.bindings.product} builds no plan: "
            f"{parsed.bindings.messages.take()}",
            do="\nCut around what it names, or into parts to find it, or choose another backend "
            "for this segment.",
        )
    return bytes(plan)


def copy_model(segment: Segment, out: Path) -> list[str]:
    """Copy the ONNX file and its weights, with which a stripped plan is refitted; their names."""
    files = [segment.onnx, *segment.onnx.parent.glob(f"{segment.onnx.name}.data")]
    for path in files:
        shutil.copyfile(path, out / path.name)
    return [path.name for path in files]


def _refusal(segment: Segment, parser: trt.OnnxParser, messages: Messages) -> ConversionError:
    refused = refused_nodes(parser, read_without_weights(segment.onnx).graph)
    return ConversionError(
        f"segment '{segment.name}': {messages.product} does not accept its graph\n  "
        + "\n  ".join(map(str, refused) if refused else [messages.take()]),
        do="\nCut around these nodes, or choose another backend for this segment.",
        refused=tuple(node for node in refused if node.output),
    )


def _check_network(parsed: ParsedSegment) -> None:
    network, segment = parsed.network, parsed.segment
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    _check_tensors(parsed, segment.inputs, inputs)
    _check_tensors(parsed, segment.outputs, outputs)
    for tensor in inputs:
        if tensor.is_shape_tensor:
            raise ConversionError(
                f"segment '{segment.name}': the values of input '{tensor.name}' decide shapes",
                do="Cut so that it stays inside, or choose another backend for this segment.",
            )


def _check_tensors(parsed: ParsedSegment, specs: Specs, tensors: list[trt.ITensor]) -> None:
    segment, product = parsed.segment.name, parsed.bindings.product
    by_name = {tensor.name: tensor for tensor in tensors}
    if by_name.keys() != {spec.name for spec in specs}:
        raise ConversionError(
            f"segment '{segment}': {product}'s network has other tensors",
            expected=", ".join(spec.name for spec in specs),
            got=", ".join(by_name),
        )
    for spec in specs:
        tensor = by_name[spec.name]
        sizes = sizes_of(tensor.shape)
        data_type = parsed.bindings.data_types[spec.dtype]
        if data_type != tensor.dtype or not _same_sizes(spec, sizes):
            raise ConversionError(
                f"segment '{segment}': tensor '{spec.name}' in {product}",
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


def _size(dim: Dim, bound: str) -> int:
    if isinstance(dim, int):
        return dim
    # a chain does not call an engine for an empty tensor
    return max(1, {"min": dim.min, "opt": dim.opt, "max": dim.max}[bound])
