"""Load artifacts and run each once, in a process that may die of it.

What a converter made is data, but an engine follows it as if it were code: a damaged or hostile
file can crash it, or keep it for ever. Errors that the engine reports are no matter here, for
whoever asked meets them again. What counts is how this process ends.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import backends
from backends.codec import from_json, to_json
from backends.contract import Array, Artifact, DeployError
from backends.process.child import Limits, end_with_parent, run_limited
from backends.registry import loader

_SECONDS = 8.0  # and one more for each megabyte


_MEMORY = 8 << 30  # and eight times the files


_TAIL = 3


_CHILD = "import sys; sys.path.append(sys.argv[1]); from backends.trial import main; main()"


def probe_load(root: Path, artifacts: Sequence[Artifact]) -> str:
    """Load artifacts whose files lie under ``root``, and run each on ones, in a child process.

    Returns:
        How that ended, such as ``signal SIGSEGV``; nothing where it ended well, or with an error.
    """
    size = sum((root / name).stat().st_size for one in artifacts for name in one.files)
    limits = Limits(_SECONDS + size / 1e6, _MEMORY + 8 * size)
    told = json.dumps({"root": str(root.absolute()), "artifacts": [to_json(a) for a in artifacts]})
    # found beside this package wherever it is started, and never in the folder of somebody else
    command = [sys.executable, "-P", "-c", _CHILD, str(Path(backends.__file__).parents[1])]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        ending = run_limited(command, limits, output, told)
        output.seek(0)
        tail = [line.strip() for line in output.read().splitlines() if line.strip()][-_TAIL:]
    if not ending or ending.startswith("exit code"):
        return ""
    return ending + (f" ({'; '.join(tail)[:300]})" if tail else "")


def main() -> None:
    """The child: reads what to try from a line of its standard input."""
    told = json.loads(sys.stdin.readline())
    end_with_parent()
    warnings.simplefilter("ignore")
    for data in told["artifacts"]:
        try:
            _try(from_json(Artifact, data, "artifact"), Path(told["root"]))
        except (DeployError, ValueError, MemoryError):
            continue


def _try(artifact: Artifact, root: Path) -> None:
    with loader(artifact.backend)(artifact, root) as runner:
        if all(spec.shape is not None for spec in artifact.inputs):
            runner(_ones(artifact))


def _ones(artifact: Artifact) -> Mapping[str, Array]:
    """Ones divide, and are indices nearly everywhere: what is honest does not die of them."""
    return {spec.name: np.ones(spec.typical, spec.dtype) for spec in artifact.inputs}
