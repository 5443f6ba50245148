"""The data flow of a chain: the boundaries between its steps, and its diagram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from backends.contract import Artifact, Specs, TensorSpec
from deploy.report.progress import format_bytes
from deploy.report.svg.diagram import Arrow, Box, engine_colours
from deploy.runtime.bundle.manifest import HostStep, Manifest, PostStep, called_steps
from deploy.runtime.execution.post_steps import result_class
from deploy.runtime.execution.schedule import Step

_PREPROCESSING = "picture to tensor"
_TEXT = "text"
_RESIZED = {"letterbox": "letterboxed", "stretch": "stretched", "crop": "cropped"}


@dataclass(frozen=True)
class Boundary:
    """The tensors that go from one step to another.

    Attributes:
        source: the step that produces them.
        target: the step that consumes them.
        tensors: their names.
        size: bytes of all at their typical shapes.
        converted: a text for each tensor whose dtype is converted, with both dtypes.
    """

    source: str
    target: str
    tensors: tuple[str, ...]
    size: int
    converted: tuple[str, ...]


def chain_boundaries(manifest: Manifest) -> list[Boundary]:
    """Every boundary of the chain, in the order of the manifest's steps.

    A segment that a host step calls has boundaries with that step only, with the tensors of one
    call.
    """
    called = called_steps(manifest)
    steps = _all_steps(manifest)
    pairs = ((source, target) for source in steps for target in steps)
    boundaries = (
        _call_boundary(source, target)
        if {source.name, target.name} & called
        else _boundary(source.name, target.name, source.outputs, target.inputs)
        for source, target in pairs
    )
    return [boundary for boundary in boundaries if boundary is not None and boundary.tensors]


def _all_steps(manifest: Manifest) -> list[Step]:
    return [*manifest.steps, *manifest.host]


def _call_boundary(source: Step, target: Step) -> Boundary | None:
    """The boundary between a host step and a segment that it calls; none between others."""
    if isinstance(source, HostStep) and target.name in source.calls:
        dtypes = {spec.name: spec.dtype for spec in source.inputs}
        arguments = tuple(
            replace(spec, dtype=dtypes.get(spec.name, spec.dtype)) for spec in target.inputs
        )
        return _boundary(source.name, target.name, arguments, target.inputs)
    if isinstance(target, HostStep) and source.name in target.calls:
        return _boundary(source.name, target.name, source.outputs, source.outputs)
    return None


def _boundary(source: str, target: str, outputs: Specs, inputs: Specs) -> Boundary:
    dtypes = {spec.name: spec.dtype for spec in inputs}
    shared = [spec for spec in outputs if spec.name in dtypes]
    return Boundary(
        source,
        target,
        tuple(spec.name for spec in shared),
        _total_bytes(shared),
        tuple(
            f"{spec.name} from {spec.dtype} to {dtypes[spec.name]}"
            for spec in shared
            if spec.dtype != dtypes[spec.name]
        ),
    )


def _total_bytes(specs: Sequence[TensorSpec]) -> int:
    return sum(bytes_of(spec) or 0 for spec in specs)


def bytes_of(spec: TensorSpec) -> int | None:
    """The size of a tensor at its typical shape; none where rank or element size is unknown."""
    if spec.shape is None or spec.dtype == "object":
        return None
    return prod(spec.typical) * np.dtype(spec.dtype).itemsize


def tensor_label(spec: TensorSpec) -> str:
    """Such as ``features float32[1, 256, 20, 20] 409.6 kB``."""
    size = bytes_of(spec)
    return f"{spec.name} {spec}" + (f" {format_bytes(size)}" if size is not None else "")


Producer = tuple[str, TensorSpec]
"""The key of the box that a tensor comes from, and the tensor as that gives it."""


def chain_boxes(manifest: Manifest, prefer: Sequence[str] = ()) -> tuple[Box, ...]:
    """Inputs and pre-processing, the steps, post-processing and outputs.

    Args:
        manifest: of the bundle.
        prefer: the engines whose colours come first; others follow in the order of the steps.
            Steps that all have one engine have no colour of it.
    """
    backends = [step.backend for step in manifest.steps]
    colours = engine_colours((*prefer, *backends)) if len({*backends}) > 1 or prefer else {}
    steps = [_segment_box(manifest, step, colours.get(step.backend, 0)) for step in manifest.steps]
    steps += [Box(_key(step), step.name, (step.id,), "host") for step in manifest.host]
    return (*_input_boxes(manifest), *steps, *_output_boxes(manifest))


def chain_arrows(manifest: Manifest) -> tuple[Arrow, ...]:
    """The tensors between the boxes.

    A host step has one arrow to each segment that it calls, with the arguments and the results.
    """
    producers = _producers(manifest)
    called = called_steps(manifest)
    arrows = [
        Arrow(producers[spec.name][0], _key(step), _flow_label(producers[spec.name][1], spec))
        for step in _all_steps(manifest)
        if step.name not in called
        for spec in step.inputs
    ]
    arrows += [arrow for host in manifest.host for arrow in _call_arrows(manifest, host)]
    if manifest.pre is not None:
        arrows.insert(0, Arrow("in:picture", _PREPROCESSING, ""))
    if manifest.text is not None:
        arrows.insert(0, Arrow("in:text", _TEXT, ""))
    return (*arrows, *_output_arrows(manifest, producers))


def _key(step: Step) -> str:
    return f"step:{step.name}"


def _segment_box(manifest: Manifest, step: Artifact, colour: int) -> Box:
    names = step.files or step.source
    size = format_bytes(sum(manifest.files[name].size for name in names))
    count = f"{len(names)} file{'s' if len(names) > 1 else ''}"
    files = f"{size} in {count}" if step.built else f"{size} to be built on the device, {count}"
    lines = f"{step.backend}, {step.precision}", files
    return Box(_key(step), step.name, lines, "segment", colour)


def _input_boxes(manifest: Manifest) -> Iterator[Box]:
    if manifest.text is not None:
        yield Box("in:text", "text", (), "input")
        yield Box(_TEXT, manifest.text.id, ("text front end",), "host")
    elif manifest.pre is None:
        for spec in manifest.caller_inputs:
            yield Box(f"in:{spec.name}", spec.name, (), "input")
    for tensor in manifest.state:
        yield Box(f"in:{tensor.input}", tensor.input, ("state of the last call",), "input")
    if manifest.pre is None:
        return
    size = f"{_RESIZED[manifest.pre.resize]} to {manifest.pre.width} x {manifest.pre.height}"
    yield Box("in:picture", "picture", ("of any size",), "input")
    yield Box(_PREPROCESSING, _PREPROCESSING, (size,), "host")


def _output_boxes(manifest: Manifest) -> Iterator[Box]:
    if manifest.post is None:
        for spec in manifest.caller_outputs:
            yield Box(f"out:{spec.name}", spec.name, (), "output")
    for tensor in manifest.state:
        yield Box(f"out:{tensor.output}", tensor.output, ("state for the next call",), "output")
    if manifest.post is None:
        return
    yield Box(f"post:{manifest.post.id}", manifest.post.id, (), "host")
    results = _results(manifest.post)
    yield Box(f"out:{results}", results, (), "output")


def _results(post: PostStep) -> str:
    """What the post-processing gives."""
    return result_class(post.id).noun


def _producers(manifest: Manifest) -> dict[str, Producer]:
    called = called_steps(manifest)
    made = manifest.caller_inputs if manifest.pre or manifest.text else ()
    maker = _TEXT if manifest.text else _PREPROCESSING
    producers = {
        spec.name: (maker if spec in made else f"in:{spec.name}", spec) for spec in manifest.inputs
    }
    steps = [step for step in _all_steps(manifest) if step.name not in called]
    return producers | {spec.name: (_key(step), spec) for step in steps for spec in step.outputs}


def _flow_label(output: TensorSpec, consumed: TensorSpec) -> str:
    """The label of a tensor, with the dtype that it is converted to on the way."""
    converted = output.dtype != consumed.dtype
    return tensor_label(output) + (f", converted to {consumed.dtype}" if converted else "")


def _call_arrows(manifest: Manifest, host: HostStep) -> Iterator[Arrow]:
    for step in manifest.steps:
        if step.name in host.calls:
            arguments = [f"gives {tensor_label(spec)}" for spec in step.inputs]
            results = [f"gets {tensor_label(spec)}" for spec in step.outputs]
            yield from (Arrow(_key(host), _key(step), label) for label in (*arguments, *results))


def _output_arrows(manifest: Manifest, producers: dict[str, Producer]) -> Iterator[Arrow]:
    carried = [tensor.output for tensor in manifest.state]
    ends = [spec.name for spec in manifest.outputs] if manifest.post is None else carried
    for name in (name for name in ends if name in producers):
        yield Arrow(producers[name][0], f"out:{name}", tensor_label(producers[name][1]))
    if manifest.post is None:
        return
    post = f"post:{manifest.post.id}"
    for name in (name for name in manifest.post.inputs if name in producers):
        yield Arrow(producers[name][0], post, tensor_label(producers[name][1]))
    yield Arrow(post, f"out:{_results(manifest.post)}", "")
