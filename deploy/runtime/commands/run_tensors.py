"""The command run for bundles that take tensors: what comes out of the chain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from backends.contract import Array, DeployError, TensorError, Tensors
from backends.files import atomic_write
from backends.terminal import printable_name
from deploy.runtime.commands.json_rows import AddRow
from deploy.runtime.inputs.sources import Source
from deploy.runtime.inputs.tensors import read_tensors, write_tensors
from deploy.runtime.pipeline import Pipeline


def run_tensors(
    pipeline: Pipeline, sources: Sequence[Source], arguments: argparse.Namespace, add_row: AddRow
) -> bool:
    """Run every file of tensors, in order: the state of a model goes from one to the next.

    Returns:
        Whether each could be read.
    """
    if arguments.out is not None:
        _check_folder(arguments.out, sources)
    succeeded = True
    for source in islice(sources, arguments.limit):
        row = _run(pipeline, source, arguments)
        add_row(row)
        succeeded &= "error" not in row
    return succeeded


def _run(pipeline: Pipeline, source: Source, arguments: argparse.Namespace) -> dict[str, Any]:
    try:
        inputs = read_tensors(source.path, pipeline.manifest.caller_inputs)
        outputs = pipeline(inputs)
    except TensorError as error:
        text = f"{printable_name(source.name)}: {error}"
        print(f"error: {text}", file=sys.stderr)
        return {"file": source.name, "error": text}
    if "-" not in (arguments.json, arguments.jsonl):
        heading = f"{printable_name(source.name)}: {len(outputs)} outputs"
        print(heading, *summary_lines(outputs), sep="\n")
    row: dict[str, Any] = {"file": source.name, "outputs": summaries(outputs)}
    if arguments.out is not None:
        target = arguments.out / f"{source.target}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as part:
            write_tensors(part, outputs)
        row["written"] = str(target)
    return row


def _check_folder(out: Path, sources: Sequence[Source]) -> None:
    for source in sources:
        if (out / f"{source.target}.npz").resolve() == source.path.resolve():
            raise DeployError(
                f"--out '{out}'",
                expected="another folder",
                got=f"the one where '{source.name}' would be replaced",
                do="Give a new folder, such as --out outputs.",
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(f"--out '{out}' cannot be written: {error.strerror}") from error


def summaries(outputs: Tensors) -> dict[str, dict[str, Any]]:
    """Dtype, shape and range of each output; the range is of its finite values, if there are."""
    return {name: _summary(array) for name, array in outputs.items()}


def _summary(array: Array) -> dict[str, Any]:
    values = array.astype(np.float64) if array.dtype.kind in "fV" else array
    finite = values[np.isfinite(values)]
    limits = {"min": finite.min().item(), "max": finite.max().item()} if finite.size else {}
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        **limits,
        **({"not_finite": array.size - finite.size} if finite.size < array.size else {}),
    }


def summary_lines(outputs: Tensors) -> Iterator[str]:
    """A line for each output."""
    for name, values in summaries(outputs).items():
        kind = f"{values['dtype']}{values['shape']}"
        limits = f"{values['min']:.6g} to {values['max']:.6g}" if "min" in values else "no values"
        rest = f", {values['not_finite']} not finite" if "not_finite" in values else ""
        yield f"  {printable_name(name):<16} {kind}  {limits}{rest}"
