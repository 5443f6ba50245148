"""Bisection of a segment: the first operator whose error is beyond the tolerance."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.acceptance import Tolerance
from backends.bisection import NodeSet, SearchResult, narrow_down
from backends.contract import Artifact, ConversionError, Dynamic, Tensors
from backends.error_metrics import ErrorMetrics, compare_all, worst
from backends.files import temporary_folder
from backends.onnx.model_file import read_without_weights
from backends.onnx.specs import read_segment
from deploy.analysis.accuracy.operators import Operators, read_operators
from deploy.analysis.accuracy.records import Bisection, Probe
from deploy.analysis.accuracy.run_files import RunFiles
from deploy.analysis.accuracy.subgraph_probe import SegmentProber, SubgraphBoundary
from deploy.graph.exported import Exported
from deploy.partition.cut_points import PartitionError
from deploy.recipe.schema import BackendRecipe

OnProbe = Callable[[Probe, int], None]
"""Called with each probe, and the number of candidates before it."""


def bisect(
    step: Artifact,
    own: Sequence[ErrorMetrics],
    files: RunFiles,
    values: Tensors,
    engine: BackendRecipe,
    tolerance: Tolerance,
    timeout: float,
    on_probe: OnProbe,
) -> Bisection:
    """Convert subgraphs of a segment, from its inputs on, until one operator is left.

    Args:
        step: the segment as it was converted.
        own: the error of each of its outputs, with the reference's inputs.
        files: of the run, with the segment's graphs.
        values: the reference's value of each of its inputs and outputs.
        engine: the backend that runs the segment in fp32.
        tolerance: what counts as agreement.
        timeout: seconds for one conversion.
        on_probe: called with each subgraph that was tried.

    Raises:
        BlameError: the segment's graph is missing.
        ConversionError: the reference's engine cannot run the segment.
    """
    prober = _segment_prober(step, files, values, engine, timeout)
    operators = read_operators(prober.original)
    search = _Search(prober, operators, tolerance, on_probe)
    graph = str(prober.converted.onnx)
    bisection = Bisection(step.name, graph, engine.name, tolerance.max_rel, tolerance.cosine)
    finding, last = _start(search, own, values)
    if last is None:
        return replace(bisection, finding=finding, probes=tuple(search.probes))
    candidates = operators.candidates(last, _tensor_names(prober.converted.onnx))
    result = narrow_down(last, operators.ancestors, candidates, search.is_good)
    bisection = replace(
        bisection,
        probes=tuple(search.probes),
        operator=operators.nodes[result.wrong],
        others=tuple(operators.nodes[number] for number in result.unknown),
    )
    return _with_operator_alone(bisection, search, result, files.operator_folder)


@dataclass(frozen=True)
class _Search:
    """What a search needs, and the probes that it has made."""

    prober: SegmentProber
    operators: Operators
    tolerance: Tolerance
    on_probe: OnProbe
    probes: list[Probe] = field(default_factory=list)

    def is_good(self, number: int, candidates: NodeSet) -> bool | None:
        """Whether the subgraph up to this operator is within the tolerance; None if unknown."""
        outputs = self.operators.nodes[number].tensors
        boundary = SubgraphBoundary(self.operators.segment_inputs[number], outputs)
        with temporary_folder() as folder:
            probe, _ = self.probe(number, boundary, folder)
        self.probes.append(probe)
        self.on_probe(probe, candidates.bit_count())
        return None if probe.gap is None else self.tolerance.admits(probe.gap)

    def probe(self, number: int, boundary: SubgraphBoundary, folder: Path) -> tuple[Probe, str]:
        """Try a subgraph that ends with this operator.

        Returns:
            The probe; and the command that repeats it, or nothing where the graph was not cut.
        """
        prober = self.prober
        values = prober.reference_values((*boundary.inputs, *boundary.outputs))
        expected = {name: values[name] for name in boundary.outputs}
        probe, repeat = Probe(number, boundary.outputs, None), ""
        try:
            segment = prober.cut(boundary, values, folder)
            repeat = prober.write_sample(segment, values, expected)
            metrics, note = prober.error(segment, values, expected)
        except (ConversionError, PartitionError) as error:
            return replace(probe, note=str(error)), repeat
        return replace(probe, gap=metrics, note=note), repeat


def _start(search: _Search, own: Sequence[ErrorMetrics], values: Tensors) -> tuple[str, int | None]:
    """The operator of a segment's output that is wrong; or the finding why there is none."""
    prober, tolerance = search.prober, search.tolerance
    by_error = sorted(own, key=lambda metrics: metrics.max_rel, reverse=True)
    outputs = [metrics.tensor for metrics in by_error]
    expected = {name: values[name] for name in outputs}
    exported = worst(compare_all(expected, prober.reference_values(outputs)))
    if not tolerance.admits(exported):
        return (
            f"its graph in fp32 is off by max_rel {exported.max_rel:.1e} at '{exported.tensor}' "
            f"already, in {prober.engine.name}: look at the export, not at the conversion.",
            None,
        )
    for output in outputs:
        last = search.operators.producer(output)
        if last is not None and search.is_good(last, search.operators.ancestors[last]) is False:
            return "", last
    if any(probe.gap is None for probe in search.probes):
        return f"it cannot be converted again: {search.probes[0].note}", None
    return "converted again, it is within its tolerance: nothing to bisect.", None


def _with_operator_alone(
    bisection: Bisection, search: _Search, result: SearchResult, folder: Path
) -> Bisection:
    """Convert the operator on its own, to tell its own error from one that it inherits."""
    operators = search.operators
    numbers = (result.wrong, *result.unknown)
    inside = {name for number in result.unknown for name in operators.nodes[number].tensors}
    inputs = dict.fromkeys(
        name for number in numbers for name in operators.inputs[number] if name not in inside
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    boundary = SubgraphBoundary(tuple(inputs), operators.nodes[result.wrong].tensors)
    alone, repeat = search.probe(result.wrong, boundary, folder)
    kept = str(folder / f"{bisection.segment}.onnx") if repeat else ""
    return replace(bisection, alone=alone, kept=kept, repeat=repeat)


def _segment_prober(
    step: Artifact, files: RunFiles, values: Tensors, engine: BackendRecipe, timeout: float
) -> SegmentProber:
    ranges = {
        dim.name: dim for spec in step.inputs for dim in spec.dims if isinstance(dim, Dynamic)
    }
    original, converted = (
        Exported(path, read_segment(path, step.name, ranges).inputs, by_name=True)
        for path in (files.original_graph(step.name), files.converted_graph(step.name))
    )
    inputs = {spec.name: values[spec.name] for spec in step.inputs}
    return SegmentProber(step, original, converted, inputs, engine, timeout)


def _tensor_names(path: Path) -> set[str]:
    return {name for node in read_without_weights(path).graph.node for name in node.output if name}
