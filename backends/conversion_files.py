"""The files of a conversion: ``artifact.json`` or why there is none, and the sample."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backends.codec import FormatError, from_json, to_json
from backends.contract import (
    Array,
    Artifact,
    ConversionError,
    DisagreementError,
    Specs,
    Tensors,
    select_tensors,
)
from backends.files import check_regular
from backends.json_limits import check_json
from backends.support import RefusedNode

ARTIFACT_FILE = "artifact.json"
_INPUT, _OUTPUT = "input/", "output/"
_MAX_FAILURE = 1 << 24  # bytes of the file of a failure
_MAX_REASON = 1_000  # characters of why a node is refused


@dataclass(frozen=True)
class Sample:
    """Inputs of a segment or chain, and the reference's outputs for them, by tensor name."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]

    @property
    def values(self) -> dict[str, Array]:
        """Inputs and outputs together."""
        return {**self.inputs, **self.outputs}


def write_artifact(folder: Path, artifact: Artifact) -> None:
    """Describe the result of a conversion in its folder."""
    (folder / ARTIFACT_FILE).write_text(json.dumps(to_json(artifact), indent=2))


def read_artifact(folder: Path) -> Artifact:
    """The artifact that a converter left in this folder.

    Raises:
        OSError: there is no such file.
        ValueError: it is not JSON.
        FormatError: it does not describe an artifact.
    """
    return from_json(Artifact, json.loads((folder / ARTIFACT_FILE).read_text()), ARTIFACT_FILE)


@dataclass(frozen=True)
class ConversionFailure:
    """Why there is no artifact, beside the words of the error.

    Attributes:
        refused: the nodes that are the reason, where they are known.
        wrong_tensor: the output that does not agree with the sample; empty where it did not come
            to a comparison.
    """

    refused: tuple[RefusedNode, ...] = ()
    wrong_tensor: str = ""


def write_failure(path: Path, error: ConversionError) -> None:
    """Write why a conversion failed, for the process that started it."""
    refused = tuple(replace(node, reason=node.reason[:_MAX_REASON]) for node in error.refused)
    tensor = error.tensor if isinstance(error, DisagreementError) else ""
    path.write_text(json.dumps(to_json(ConversionFailure(refused, tensor))))


def read_failure(path: Path) -> ConversionFailure:
    """What a converter wrote of its failure.

    Nothing is known where there is no such file, as after a crash, or where it is not readable: the
    failure itself must still be reported.
    """
    with suppress(OSError, ValueError, RecursionError, FormatError):
        check_regular(path)
        with path.open("rb") as file:
            data = json.loads(file.read(_MAX_FAILURE))  # the start of a longer one is no JSON
        check_json(data, path.name)
        return from_json(ConversionFailure, data, path.name)
    return ConversionFailure()


def write_sample(
    path: Path, inputs: Specs, outputs: Specs, values: Tensors, compressed: bool = True
) -> None:
    """Write the values of these tensors, as ``input/<name>`` and ``output/<name>`` of an npz file.

    Args:
        path: the file; its folder is created.
        inputs: the tensors to write as inputs, each in the dtype of its spec.
        outputs: the tensors to write as outputs, likewise.
        values: all these tensors by name.
        compressed: without it, a program can read the numbers at their place in the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{_INPUT}{name}": array for name, array in select_tensors(inputs, values).items()}
    arrays |= {f"{_OUTPUT}{name}": array for name, array in select_tensors(outputs, values).items()}
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    (np.savez_compressed if compressed else np.savez)(path, allow_pickle=False, **arrays)


def read_npz_sample(path: Path) -> Sample:
    """The tensors of an npz file that ``write_sample`` wrote on this machine.

    Raises:
        OSError: there is no such file.
        ValueError: it is not an npz file, or holds pickled objects.
    """
    return split_sample(read_arrays(path))


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an npz file by their names in the file; errors as of ``read_npz_sample``."""
    check_regular(path)
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def sample_names(inputs: Specs, outputs: Specs) -> list[str]:
    """The names in the file of a sample of these tensors."""
    return [
        *(f"{_INPUT}{spec.name}" for spec in inputs),
        *(f"{_OUTPUT}{spec.name}" for spec in outputs),
    ]


def split_sample(arrays: Tensors) -> Sample:
    """A sample from arrays by their names in the file."""
    inputs, outputs = (
        {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        for prefix in (_INPUT, _OUTPUT)
    )
    return Sample(inputs, outputs)
