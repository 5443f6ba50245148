"""The standalone converter of each backend, which the pipeline runs as a child process.

The output folder is created only when the artifact loads, runs on a sample and agrees with it; or,
with ``--no-check``, when it is converted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from backends.acceptance import TOLERANCES, AcceptanceRule, Bounds
from backends.contract import (
    UNBOUNDED,
    Artifact,
    ConversionError,
    DeployError,
    DisagreementError,
    Dynamic,
    Segment,
)
from backends.conversion_files import (
    ARTIFACT_FILE,
    Sample,
    read_arrays,
    sample_names,
    split_sample,
    write_artifact,
    write_failure,
)
from backends.error_metrics import ErrorMetrics, compare_all, worst
from backends.files import check_utf8, not_regular, temporary_folder
from backends.options import describe_options, parse_options
from backends.process.child import end_with_parent
from backends.process.large_stack import call_with_large_stack
from backends.registry import about, converter, loader, options_type
from backends.terminal import program_output


@program_output()
def main(backend: str, argv: Sequence[str] | None = None) -> None:
    """Convert one ONNX file.

    Args:
        backend: the backend's name.
        argv: the arguments; by default those of the process.
    """
    end_with_parent()
    arguments = _parser(backend).parse_intermixed_args(argv)
    try:
        artifact, gap, obstacle = call_with_large_stack(lambda: _convert(backend, arguments))
    except DeployError as error:
        if arguments.failure and isinstance(error, ConversionError):
            write_failure(arguments.failure, error)
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")
    size = sum((arguments.out / name).stat().st_size for name in artifact.files)
    agrees = f"max_rel {gap.max_rel:.1e} at '{gap.tensor}'" if gap else "not checked"
    if artifact.unverified:
        stand_in = about(backend).stand_in if gap else None
        other = "".join(f" with {name}={value}" for name, value in (stand_in or {}).items())
        agrees += f"{other}, since this machine cannot run it: {obstacle}"
    print(f"{arguments.out}: {artifact.precision}, {size:,} bytes, {agrees}")


def _parser(backend: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"onnx2{backend}",
        description=f"Convert an ONNX file for {backend}, and check the result on a sample.",
        epilog=f"options: {describe_options(options_type(backend))}",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    parser.add_argument("--name", help="the segment's name; by default the file's")
    parser.add_argument(
        "--sample",
        type=Path,
        metavar="FILE.npz",
        help="arrays input/<name> and output/<name>; by default noise, and its outputs by ONNX's "
        "reference implementation, which is slow for a large model",
    )
    parser.add_argument(
        "--precision",
        choices=list(TOLERANCES),
        default="fp32",
        help="of the model's graph, which selects the tolerance",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="keep the result without running it on the sample"
    )
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="OUTPUT=MAX_REL,COSINE",
        help="of one output, in the place of the precision's",
    )
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="DIM=MIN,OPT,MAX[,MULTIPLE]",
        help="the sizes of an open dimension; without MAX there is no largest one. A dimension "
        "without a name is TENSOR.AXIS",
    )
    parser.add_argument(
        "--failure",
        type=Path,
        metavar="FILE.json",
        help="written where the conversion fails: the nodes that are the reason, if they are "
        "known, or the output that does not agree",
    )
    parser.add_argument("options", nargs="*", metavar="option=value")
    return parser


def _convert(
    backend: str, arguments: argparse.Namespace
) -> tuple[Artifact, ErrorMetrics | None, str]:
    """The artifact, its error where it was checked, and why it cannot run here, if so."""
    from backends.onnx.specs import read_segment  # here, since --help works without onnx

    options = parse_options(
        options_type(backend), dict(map(_assignment, arguments.options)), backend
    )
    ranges = {dim.name: dim for dim in map(_range, arguments.range)}
    check_utf8(arguments.model)
    segment = read_segment(arguments.model, arguments.name or arguments.model.stem, ranges)
    check_utf8(arguments.out)
    _check_target(arguments.out)
    _check_machine(backend, segment, options)
    arguments.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(arguments.out.absolute().parent) as scratch:
        folder = scratch / "artifact"
        folder.mkdir()
        taken = _without_functions(backend, segment, scratch)
        artifact = converter(backend)(taken, options, folder)
        if arguments.precision != "fp32":
            artifact = replace(artifact, precision=arguments.precision)
        obstacle = about(backend).run_obstacle(options)
        gap = None
        runnable = _stand_in(artifact) if obstacle else artifact
        if not arguments.no_check and runnable is not None:
            bounds = dict(map(_bounds, arguments.tolerance))
            sample = _sample(segment, arguments.sample)
            gap = _check_agreement(
                segment, runnable, folder, sample, AcceptanceRule(tensors=bounds)
            )
        artifact = replace(artifact, unverified=bool(obstacle))
        write_artifact(folder, artifact)
        shutil.rmtree(arguments.out, ignore_errors=True)
        folder.replace(arguments.out)
    return artifact, gap, obstacle


def _stand_in(artifact: Artifact) -> Artifact | None:
    """The artifact with options under which this machine runs it, if there are such."""
    options = about(artifact.backend).stand_in
    return None if options is None else replace(artifact, options={**artifact.options, **options})


def _without_functions(backend: str, segment: Segment, scratch: Path) -> Segment:
    from backends.onnx.functions import segment_without_functions  # as above

    return segment if about(backend).functions else segment_without_functions(segment, scratch)


def _check_machine(backend: str, segment: Segment, options: object) -> None:
    """Refuse a machine that cannot convert, with what the engine's parser says of the segment."""
    facts = about(backend)
    if reason := facts.conversion_obstacle():
        lines = facts.support(segment, options).lines(segment.name) if facts.support else ()
        raise ConversionError(
            f"{backend} cannot convert here: {reason}", do="\n  ".join(["", *lines]).rstrip()
        )


def _check_agreement(
    segment: Segment, artifact: Artifact, folder: Path, sample: Sample, rule: AcceptanceRule
) -> ErrorMetrics:
    with loader(artifact.backend)(artifact, folder) as runner:
        metrics = compare_all(sample.outputs, runner(sample.inputs))
    for gap in sorted(metrics, key=lambda item: item.max_rel, reverse=True):
        tolerance = rule.tolerance(artifact.precision, gap.tensor)
        if not tolerance.admits(gap):
            from backends.onnx.ties import tie_advice  # here, since --help works without onnx

            raise DisagreementError(
                f"segment '{artifact.name}': {artifact.backend} does not agree at '{gap.tensor}'",
                expected=str(tolerance),
                got=f"max_rel {gap.max_rel:.3g}, cosine {gap.cosine:.6f}",
                do=tie_advice(segment.onnx, gap.tensor),
                tensor=gap.tensor,
            )
    return worst(metrics)


def _sample(segment: Segment, path: Path | None) -> Sample:
    if path is None:
        return _reference_sample(segment)
    if kind := not_regular(path):
        raise ConversionError(f"sample '{path}'", expected="an npz file", got=kind)
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        reason = type(error).__name__  # NumPy's own words may quote the file
        raise ConversionError(f"sample '{path}' is not an npz file: {reason}") from error
    expected, got = sorted(sample_names(segment.inputs, segment.outputs)), sorted(arrays)
    if expected != got:
        raise ConversionError(f"sample '{path}'", expected=", ".join(expected), got=", ".join(got))
    return split_sample(arrays)


def _reference_sample(segment: Segment) -> Sample:
    from backends.onnx.reference import reference_outputs  # as above

    noise = np.random.default_rng(0)
    inputs = {
        spec.name: noise.standard_normal(spec.typical).astype(spec.dtype) for spec in segment.inputs
    }
    return Sample(inputs, reference_outputs(segment, inputs))


def _check_target(out: Path) -> None:
    replaceable = (out / ARTIFACT_FILE).is_file()
    if out.exists() and not replaceable and not (out.is_dir() and not any(out.iterdir())):
        raise ConversionError(
            f"'{out}'",
            expected="a new folder, or an earlier artifact to replace",
            got="something else",
        )


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConversionError("option", expected="option=value", got=text)
    return key, value


def _bounds(text: str) -> tuple[str, Bounds]:
    name, _, numbers = text.rpartition("=")
    try:
        max_rel, cosine = map(float, numbers.split(","))
    except ValueError as error:
        raise ConversionError("--tolerance", expected="OUTPUT=MAX_REL,COSINE", got=text) from error
    return name, Bounds(max_rel, cosine)


def _range(text: str) -> Dynamic:
    name, sizes = _assignment(text)
    parts = sizes.split(",")
    try:
        minimum, optimum, maximum, multiple = parts if len(parts) == 4 else (*parts, "1")
        largest = int(maximum) if maximum else UNBOUNDED
        return Dynamic(name, int(minimum), int(optimum), largest, int(multiple))
    except ValueError as error:
        raise ConversionError(
            "--range", expected="DIM=MIN,OPT,MAX or DIM=MIN,OPT,MAX,MULTIPLE", got=text
        ) from error
