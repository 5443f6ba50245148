"""A chain as boxes and arrows: what runs where, how large it is, what goes over borders."""

from __future__ import annotations

from collections.abc import Iterator

from backends.contract import Artifact, TensorSpec
from deploy.report.borders import tensor_label
from deploy.report.progress import format_bytes
from deploy.report.svg.diagram import Arrow, Box
from deploy.runtime.bundle.manifest import HostStep, Manifest, called_steps
from deploy.runtime.execution.schedule import Step

_PRE, _FOUND = "picture to tensor", "detections"


Maker = tuple[str, TensorSpec]


def chain_boxes(manifest: Manifest) -> tuple[Box, ...]:
    """The steps, what stands before and behind them, inputs and outputs."""
    found = [_engine(manifest, step) for step in manifest.steps]
    found += [Box(_key(step), step.name, (step.id,), "host") for step in manifest.host]
    return (*_front(manifest), *found, *_back(manifest))


def chain_arrows(manifest: Manifest) -> tuple[Arrow, ...]:
    """What flows between the boxes.

    A host step and a segment that it calls as often as it likes have one arrow, with what goes
    there and what comes back.
    """
    makers = _makers(manifest)
    apart = called_steps(manifest)
    steps = [step for step in _steps(manifest) if step.name not in apart]
    found = [
        Arrow(makers[spec.name][0], _key(step), _flow(makers[spec.name][1], spec))
        for step in steps
        for spec in step.inputs
    ]
    found += [one for host in manifest.host for one in _calls(manifest, host)]
    if manifest.pre is not None:
        found.insert(0, Arrow("in:picture", _PRE, ""))
    return (*found, *_ends(manifest, makers))


def _steps(manifest: Manifest) -> list[Step]:
    return [*manifest.steps, *manifest.host]


def _key(step: Step) -> str:
    return f"step:{step.name}"


def _engine(manifest: Manifest, step: Artifact) -> Box:
    names = step.files or step.source
    size = format_bytes(sum(manifest.files[name].size for name in names))
    count = f"{len(names)} file{'s' if len(names) > 1 else ''}"
    files = f"{size} to be built on the device, {count}" if step.pending else f"{size} in {count}"
    return Box(_key(step), step.name, (f"{step.backend}, {step.precision}", files), "segment")


def _front(manifest: Manifest) -> Iterator[Box]:
    if manifest.pre is None:
        yield from (Box(f"in:{spec.name}", spec.name, (), "input") for spec in manifest.inputs)
        return
    size = f"letterboxed to {manifest.pre.width} x {manifest.pre.height}"
    yield Box("in:picture", "picture", ("of any size",), "input")
    yield Box(_PRE, _PRE, (size,), "host")


def _back(manifest: Manifest) -> Iterator[Box]:
    if manifest.post is None:
        yield from (Box(f"out:{spec.name}", spec.name, (), "output") for spec in manifest.outputs)
        return
    yield Box(f"post:{manifest.post.id}", manifest.post.id, (), "host")
    yield Box(f"out:{_FOUND}", _FOUND, (), "output")


def _makers(manifest: Manifest) -> dict[str, Maker]:
    """The box that each tensor comes from, and the tensor as it gives it."""
    apart = called_steps(manifest)
    first = {
        spec.name: (_PRE if manifest.pre else f"in:{spec.name}", spec) for spec in manifest.inputs
    }
    steps = [step for step in _steps(manifest) if step.name not in apart]
    return first | {spec.name: (_key(step), spec) for step in steps for spec in step.outputs}


def _flow(given: TensorSpec, taken: TensorSpec) -> str:
    """What goes over a border, and that it is converted there."""
    converted = given.dtype != taken.dtype
    return tensor_label(given) + (f", converted to {taken.dtype}" if converted else "")


def _calls(manifest: Manifest, host: HostStep) -> Iterator[Arrow]:
    for step in manifest.steps:
        if step.name in host.calls:
            there = [f"gives {tensor_label(spec)}" for spec in step.inputs]
            back = [f"gets {tensor_label(spec)}" for spec in step.outputs]
            yield from (Arrow(_key(host), _key(step), one) for one in (*there, *back))


def _ends(manifest: Manifest, makers: dict[str, Maker]) -> Iterator[Arrow]:
    given = [spec.name for spec in manifest.outputs if spec.name in makers]
    if manifest.post is None:
        for name in given:
            yield Arrow(makers[name][0], f"out:{name}", tensor_label(makers[name][1]))
        return
    post = f"post:{manifest.post.id}"
    for name in (name for name in manifest.post.inputs if name in makers):
        yield Arrow(makers[name][0], post, tensor_label(makers[name][1]))
    yield Arrow(post, f"out:{_FOUND}", "")
