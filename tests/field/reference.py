"""A deployed bundle beside its model on real samples, without this project's own verification.

``python -m tests.field.reference BUNDLE MODEL SAMPLES [FILE]`` prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


def main(bundle: Path, model: str, samples: Path, file: str = "") -> None:
    """Print the largest relative error over all samples and outputs, and where it is."""
    from deploy.runtime import Pipeline

    # an engine may differ from itself: rounding in quantised files depends on what it fuses
    levels = (False, True)
    runs = (
        [_file_runner(Path(file), optimized=level) for level in levels]
        if file
        else [_architecture_runner(model)]
    )
    worst, place = 0.0, ""
    with Pipeline.open(bundle) as pipeline:
        names = [spec.name for spec in pipeline.manifest.outputs]
        for number, inputs in enumerate(read_samples(samples)):
            taken = {spec.name: inputs[spec.name] for spec in pipeline.manifest.inputs}
            outputs = pipeline.chain(taken)
            of_runs = [errors(run(inputs), outputs, names) for run in runs]
            found = {name: min(each.get(name, np.inf) for each in of_runs) for name in of_runs[0]}
            for spec in pipeline.manifest.outputs:
                if not has_declared_shape(outputs[spec.name].shape, spec.shape):
                    found[f"{spec.name} of another shape than declared"] = float("inf")
            for name, error in found.items():
                if not error <= worst:
                    worst, place = error, f"sample {number}, output {name}"
    print(json.dumps({"max_rel": worst, "place": place}))


def read_samples(folder: Path) -> Iterator[dict[str, Array]]:
    """The inputs of each sample that ``write_samples`` has written."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as stored:
            yield {name: stored[name] for name in stored.files}


def errors(expected: Arrays, outputs: Arrays, names: list[str]) -> dict[str, float]:
    """The largest error of each output over its largest magnitude; inf where shapes differ.

    Outputs are those of the same name; the others, such as a result that has the name of a mark,
    are those of the same place among the others of their shape.
    """
    if len(expected) != len(names):
        return {f"{len(names)} outputs for {len(expected)}": float("inf")}
    others = [key for key in expected if key not in names]
    pairs = {}
    for name in names:
        fitting = [key for key in others if expected[key].shape == outputs[name].shape]
        key = name if name in expected else next(iter(fitting or others))
        others = [other for other in others if other != key]
        pairs[name] = key
    return {name: relative_error(expected[key], outputs[name]) for name, key in pairs.items()}


def has_declared_shape(shape: tuple[int, ...], declared: Sequence[object] | None) -> bool:
    """Whether a shape has the number of axes and the fixed sizes that a manifest declares."""
    return declared is None or (
        len(shape) == len(declared)
        and all(
            not isinstance(size, int) or size == got
            for size, got in zip(declared, shape, strict=True)
        )
    )


def relative_error(expected: Array, value: Array) -> float:
    """The largest error over the largest magnitude; NaN agrees with NaN, infinity with itself."""
    if expected.shape != value.shape:
        return float("inf")
    if expected.dtype.kind in "biu":
        return float(np.mean(expected != value)) if expected.size else 0.0
    first, second = expected.astype(np.float64), value.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    if not np.isfinite(second[~same]).all() or not np.isfinite(first[~same]).all():
        return float("inf")
    finite = first[np.isfinite(first)]
    scale = max(float(np.abs(finite).max(initial=0.0)), 1e-12)
    return float(np.abs(first[~same] - second[~same]).max(initial=0.0)) / scale


def output_name(path: Sequence[Any]) -> str:
    """The name of a result's tensor as the export writes it: keys, attributes and numbers."""
    return ".".join(str(astuple(key)[0]) for key in path)


def _file_runner(file: Path, *, optimized: bool) -> Callable[[Arrays], Arrays]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    taken = {value.name for value in session.get_inputs()}

    def run(inputs: Arrays) -> Arrays:
        values = session.run(None, {name: inputs[name] for name in taken})
        return dict(zip(names, values, strict=True))

    return run


def _architecture_runner(target: str) -> Callable[[Arrays], Arrays]:
    import torch
    from torch.utils import _pytree

    module, _, name = target.partition(":")
    model = vars(import_module(module))[name]()

    def run(inputs: Arrays) -> Arrays:
        with torch.no_grad():
            result = model(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        leaves = _pytree.tree_flatten_with_path(result)[0]
        tensors = [(path, leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]
        return {output_name(path) or str(n): leaf.numpy() for n, (path, leaf) in enumerate(tensors)}

    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
