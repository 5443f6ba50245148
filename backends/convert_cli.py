"""The standalone converter of every backend, which the pipeline runs as a child process.

A result counts only when it loads, runs on a sample and agrees with it, unless ``--no-check`` is
given. Until then nothing has the requested name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from backends.acceptance import TOLERANCES
from backends.codec import from_json, to_json
from backends.contract import Artifact, ConversionError, DeployError, Dynamic, Segment, Tensors
from backends.error_metrics import ErrorMetrics, compare_all, worst
from backends.options import describe, parse_options
from backends.process.child import end_with_parent
from backends.registry import converter, loader, options_type

ARTIFACT_FILE = "artifact.json"


def main(backend: str, arguments: Sequence[str] | None = None) -> None:
    """Convert one ONNX file as the command line asks."""
    end_with_parent()
    asked = _parser(backend).parse_intermixed_args(arguments)
    try:
        artifact, gap = _convert(backend, asked)
    except DeployError as error:
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")
    size = sum((asked.out / name).stat().st_size for name in artifact.files)
    agrees = f"max_rel {gap.max_rel:.1e} at '{gap.tensor}'" if gap else "not checked"
    print(f"{asked.out}: {artifact.precision}, {size:,} bytes, {agrees}")


def read_artifact(folder: Path) -> Artifact:
    """The artifact that a converter left in this folder."""
    return from_json(Artifact, json.loads((folder / ARTIFACT_FILE).read_text()), ARTIFACT_FILE)


def _parser(backend: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"onnx2{backend}",
        description=f"Convert an ONNX file for {backend}, and check the result on a sample.",
        epilog=f"options: {describe(options_type(backend))}",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    parser.add_argument("--name", help="the segment's name; by default the file's")
    parser.add_argument(
        "--sample",
        type=Path,
        metavar="FILE.npz",
        help="arrays input/<name> and output/<name>; by default noise, and what ONNX's own "
        "reference implementation makes of it, which is slow for a large model",
    )
    parser.add_argument(
        "--precision",
        choices=list(TOLERANCES),
        default="fp32",
        help="that the model's graph computes in, which chooses the tolerance",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="keep the result without running it on the sample"
    )
    parser.add_argument("--range", action="append", default=[], metavar="DIM=MIN,OPT,MAX")
    parser.add_argument("options", nargs="*", metavar="option=value")
    return parser


def _convert(backend: str, asked: argparse.Namespace) -> tuple[Artifact, ErrorMetrics | None]:
    from backends.onnx.specs import read_segment  # the onnx library is the desk's

    options = parse_options(options_type(backend), dict(map(_pair, asked.options)), backend)
    ranges = {dim.name: dim for dim in map(_range, asked.range)}
    segment = read_segment(asked.model, asked.name or asked.model.stem, ranges)
    _check_target(asked.out)
    asked.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.out.absolute().parent) as scratch:
        folder = Path(scratch) / "artifact"
        folder.mkdir()
        artifact = converter(backend)(segment, options, folder)
        if asked.precision != "fp32":
            artifact = replace(artifact, precision=asked.precision)
        checked = not asked.no_check
        gap = _agreement(artifact, folder, _sample(segment, asked.sample)) if checked else None
        (folder / ARTIFACT_FILE).write_text(json.dumps(to_json(artifact), indent=2))
        shutil.rmtree(asked.out, ignore_errors=True)
        folder.replace(asked.out)
    return artifact, gap


def _agreement(artifact: Artifact, folder: Path, sample: Tensors) -> ErrorMetrics:
    inputs, expected = (
        {name.split("/", 1)[1]: value for name, value in sample.items() if name.startswith(side)}
        for side in ("input/", "output/")
    )
    with loader(artifact.backend)(artifact, folder) as runner:
        gap = worst(compare_all(expected, runner(inputs)))
    bound = TOLERANCES[artifact.precision]
    if not bound.admits(gap):
        raise ConversionError(
            f"segment '{artifact.name}': {artifact.backend} does not agree at '{gap.tensor}'",
            expected=str(bound),
            got=f"max_rel {gap.max_rel:.3g}, cosine {gap.cosine:.6f}",
        )
    return gap


def _sample(segment: Segment, path: Path | None) -> Tensors:
    if path is None:
        return _reference_sample(segment)
    try:
        with np.load(path, allow_pickle=False) as stored:
            sample = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise ConversionError(f"sample '{path}' is not an npz file: {error}") from error
    names = {f"input/{spec.name}" for spec in segment.inputs}
    names |= {f"output/{spec.name}" for spec in segment.outputs}
    if names != sample.keys():
        raise ConversionError(
            f"sample '{path}'", expected=", ".join(sorted(names)), got=", ".join(sorted(sample))
        )
    return sample


def _reference_sample(segment: Segment) -> Tensors:
    from onnx.reference import ReferenceEvaluator

    noise = np.random.default_rng(0)
    inputs = {
        spec.name: (noise.standard_normal(spec.typical)).astype(spec.dtype)
        for spec in segment.inputs
    }
    names = [spec.name for spec in segment.outputs]
    outputs = ReferenceEvaluator(str(segment.onnx)).run(names, inputs)
    sample = {f"input/{name}": value for name, value in inputs.items()}
    return sample | {f"output/{name}": value for name, value in zip(names, outputs, strict=True)}


def _check_target(out: Path) -> None:
    ours = (out / ARTIFACT_FILE).is_file()
    if out.exists() and not ours and not (out.is_dir() and not any(out.iterdir())):
        raise ConversionError(
            f"'{out}'",
            expected="a new folder, or an earlier artifact to replace",
            got="something else",
        )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConversionError("option", expected="option=value", got=text)
    return key, value


def _range(text: str) -> Dynamic:
    name, sizes = _pair(text)
    try:
        least, usual, most = (int(size) for size in sizes.split(","))
    except ValueError as error:
        raise ConversionError("--range", expected="DIM=MIN,OPT,MAX", got=text) from error
    return Dynamic(name, least, usual, most)
