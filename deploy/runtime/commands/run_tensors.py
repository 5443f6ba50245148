"""The command run for bundles that take tensors: what comes out of the chain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from backends.contract import Array, TensorError, Tensors
from backends.files import atomic_write
from backends.terminal import printable_name
from deploy.runtime.commands.json_rows import AddRow
from deploy.runtime.commands.output_folder import OutputFolder
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
    folder = OutputFolder(arguments.out, sources) if arguments.out is not None else None
    is_quiet = "-" in (arguments.json, arguments.jsonl)
    succeeded = True
    for source in islice(sources, arguments.limit):
        try:
            outputs = pipeline(read_tensors(source.path, pipeline.manifest.caller_inputs))
        except TensorError as error:
            print(f"error: {error}", file=sys.stderr)
            add_row({"file": source.name, "error": str(error)})
            succeeded = False
            continue
        if not is_quiet:
            print(*summary_lines(source.name, outputs), sep="\n")
        add_row({"file": source.name, **_written(source, outputs, folder)})
    return succeeded


def _written(source: Source, outputs: Tensors, folder: OutputFolder | None) -> dict[str, Any]:
    row: dict[str, Any] = {"outputs": summaries(outputs)}
    if folder is not None:
        target = folder.new_file(source)
        with atomic_write(target) as part:
            write_tensors(part, outputs)
        row["written"] = str(target)
    return row


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


def summary_lines(name: str, outputs: Tensors) -> Iterator[str]:
    """A heading, and a line for each output."""
    yield f"{printable_name(name)}: {len(outputs)} output{'' if len(outputs) == 1 else 's'}"
    for output, values in summaries(outputs).items():
        kind = f"{values['dtype']}{values['shape']}"
        limits = f"{values['min']:.6g} to {values['max']:.6g}" if "min" in values else "no values"
        rest = f", {values['not_finite']} not finite" if "not_finite" in values else ""
        yield f"  {printable_name(output):<16} {kind}  {limits}{rest}"
