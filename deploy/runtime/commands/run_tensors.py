"""The command run for bundles that take tensors or texts: what comes out of the chain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from backends.contract import Array, TensorError, Tensors
from backends.files import atomic_write
from backends.terminal import printable_name
from deploy.runtime.commands.json_rows import AddRow
from deploy.runtime.commands.output_folder import OutputFolder
from deploy.runtime.execution.text_front_ends import TextError
from deploy.runtime.inputs.sources import InputError, Source
from deploy.runtime.inputs.tensors import read_tensors, write_tensors
from deploy.runtime.inputs.texts import read_texts
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.result import Result


@dataclass(frozen=True)
class Item:
    """A file of tensors, or a text.

    Attributes:
        source: where it comes from.
        row: the beginning of its row of the report.
        text: the text; None for tensors.
        place: where the text comes from, for errors.
    """

    source: Source
    row: Mapping[str, Any]
    text: str | None = None
    place: str = ""

    @property
    def name(self) -> str:
        """The heading of what is printed."""
        return self.source.name if self.text is None else self.text

    def tensors(self, pipeline: Pipeline) -> dict[str, Array]:
        """The inputs of the chain.

        Raises:
            TensorError: of a file.
            TextError: of a text; it does not carry the text.
        """
        if self.text is None:
            return read_tensors(self.source.path, pipeline.manifest.caller_inputs)
        try:
            return pipeline.encode(self.text)
        except TextError as error:
            raise TextError(f"{self.place}: {error}") from error


@dataclass(frozen=True)
class Unreadable:
    """A file of texts that cannot be read, or not to its end; see ``Item``."""

    row: Mapping[str, Any]
    error: InputError


def run_tensors(
    pipeline: Pipeline, sources: Sequence[Source], arguments: argparse.Namespace, add_row: AddRow
) -> bool:
    """Run every text and file of tensors, in order: a model's state goes from one to the next.

    Returns:
        Whether each could be read.
    """
    texts = [
        Item(Source("text", "--text", f"text-{number}"), {"text": text}, text, f"text {number}")
        for number, text in enumerate(arguments.text, 1)
    ]
    folder = None
    if arguments.out is not None:
        folder = OutputFolder(arguments.out, [*(item.source for item in texts), *sources], ".npz")
    succeeded = True
    for item in islice(_items(texts, sources), arguments.limit):
        try:
            if isinstance(item, Unreadable):
                raise item.error
            outputs = pipeline(item.tensors(pipeline))
        except (InputError, TensorError, TextError) as error:
            print(f"error: {error}", file=sys.stderr)
            add_row({**item.row, "error": str(error)})
            succeeded = False
            continue
        results = pipeline.finish_batch(outputs) if pipeline.post is not None else None
        written = {} if folder is None else {"written": str(_write(item, outputs, folder))}
        if not {"-"} & {arguments.json, arguments.jsonl}:
            print(*_lines(pipeline, item, outputs, results, arguments.score), sep="\n")
        for row in _rows(pipeline, outputs, results):
            add_row({**item.row, **row, **written})
    return succeeded


def _items(texts: Iterable[Item], sources: Iterable[Source]) -> Iterator[Item | Unreadable]:
    yield from texts
    for source in sources:
        if source.kind == "tensors":
            yield Item(source, {"file": source.name})
            continue
        try:
            for number, text in read_texts(source):
                row = {"file": source.name, "line": number, "text": text}
                yield Item(source, row, text, f"{_file(source)}, line {number}")
        except InputError as error:
            yield Unreadable({"file": source.name}, error)


def _file(source: Source) -> str:
    return source.kind if source.kind == "standard input" else f"'{source.name}'"


def _write(item: Item, outputs: Tensors, folder: OutputFolder) -> Path:
    target = folder.new_file(item.source)
    with atomic_write(target) as part:
        write_tensors(part, outputs)
    return target


def _rows(
    pipeline: Pipeline, outputs: Tensors, results: Sequence[Result] | None
) -> Iterator[dict[str, Any]]:
    """The report's rows of an item: one, or one for each input of a batch."""
    if results is None:
        yield {"outputs": summaries(outputs)}
        return
    for number, result in enumerate(results):
        place = {"input": number} if len(results) > 1 else {}
        yield {**place, result.noun: result.to_json(pipeline.classes)}


def _lines(
    pipeline: Pipeline,
    item: Item,
    outputs: Tensors,
    results: Sequence[Result] | None,
    score: float,
) -> Iterator[str]:
    if results is None:
        yield from summary_lines(item.name, outputs)
        return
    for number, result in enumerate(results):
        place = f", input {number}" if len(results) > 1 else ""
        yield from result_lines(f"{item.name}{place}", result.above(score), pipeline.classes)


def result_lines(name: str, result: Result, classes: Sequence[str]) -> Iterator[str]:
    """The summary of a result behind the name of its input, and the lines that say more."""
    summary = result.summary(classes)
    yield f"{printable_name(name)}: {summary}"
    yield from (f"  {line}" for line in result.lines(classes) if line.split() != summary.split())


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
