"""Load artifacts and run each once in a child process, which a bad file may crash.

An artifact is data, but an engine executes what it describes: a damaged or hostile file can crash
the engine or make it run forever. Errors that the engine reports are ignored here, since the caller
gets them again when it loads the artifact itself. Only how the child ends counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backends.codec import from_json, to_json
from backends.contract import Array, Artifact, DeployError
from backends.process.child import Limits, end_with_parent, module_command, run_limited
from backends.registry import loader
from backends.terminal import program_output

_SECONDS = 8.0  # and one more for each megabyte
_MEMORY = 8 << 30  # and eight times the files
_TAIL = 3  # lines of its output that are reported
_MODULE = "backends.process.probe"


def probe_load(root: Path, artifacts: Sequence[Artifact]) -> str:
    """Load artifacts whose files lie under ``root``, and run each on ones, in a child process.

    Returns:
        How the child was ended, such as ``signal SIGSEGV``; an empty text where it ended by
        itself.
    """
    size = sum((root / name).stat().st_size for step in artifacts for name in step.files)
    limits = Limits(_SECONDS + size / 1e6, _MEMORY + 8 * size)
    request = json.dumps(
        {"root": str(root.absolute()), "artifacts": [to_json(step) for step in artifacts]}
    )
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        failure = run_limited(module_command(_MODULE), limits, output, request)
        output.seek(0)
        tail = [line.strip() for line in output.read().splitlines() if line.strip()][-_TAIL:]
    if not failure or failure.startswith("exit code"):
        return ""
    return failure + (f" ({'; '.join(tail)[:300]})" if tail else "")


@program_output()
def main() -> None:
    """The child process: reads the request from a line of its standard input."""
    request = json.loads(sys.stdin.readline())
    end_with_parent()
    warnings.simplefilter("ignore")
    for data in request["artifacts"]:
        try:
            _load_and_run(from_json(Artifact, data, "artifact"), Path(request["root"]))
        except (DeployError, ValueError, MemoryError):
            continue


def _load_and_run(artifact: Artifact, root: Path) -> None:
    with loader(artifact.backend)(artifact, root) as runner:
        if all(spec.shape is not None for spec in artifact.inputs):
            runner(_ones(artifact))


def _ones(artifact: Artifact) -> Mapping[str, Array]:
    """Ones are divisors, and nearly everywhere valid indices: no honest model crashes on them."""
    return {spec.name: np.ones(spec.typical, spec.dtype) for spec in artifact.inputs}


if __name__ == "__main__":
    main()
