"""A trial of a bundle in a child process, before this process loads it itself.

An artifact is data, but an engine executes what it describes: a damaged or hostile file can crash
the engine, make it run forever or take all memory. Only a bundle of which every step was loaded and
run counts as tried; anything else names the step.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from backends.codec import from_json, to_json
from backends.contract import Array, DeployError, Dynamic, EngineError, Specs, Tensors, TensorSpec
from backends.files import temporary_folder
from backends.process.child import Limits, end_with_parent, module_command, run_limited
from backends.terminal import program_output
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.bundle.trust import is_tried, remember_tried
from deploy.runtime.execution.loading import load_chain
from deploy.runtime.execution.post_steps import Post, make_post, placed_results
from deploy.runtime.isolation.limits import limits_for
from deploy.runtime.isolation.shared_memory import numpy_dtype
from deploy.runtime.vision.image import Placement

_MODULE = "deploy.runtime.isolation.trial"
_PASSED = "passed"
_TAIL = 3  # lines of the child's output that are reported
_SIZES: Mapping[str, Callable[[Dynamic], int]] = {
    "usual": lambda dim: dim.opt,
    "smallest": lambda dim: dim.min,
    "largest": lambda dim: dim.max,
}


def try_first(root: Path, manifest: Manifest) -> None:
    """Load a bundle and run it in a child process, unless this machine has done so before.

    Args:
        root: the bundle; its files must have been compared with the manifest.
        manifest: its manifest, with the engines that are to run.

    Raises:
        EngineError: a step failed, crashed the child, or exceeded its time or memory.
    """
    if is_tried(manifest):
        return
    limits = limits_for(root, manifest.steps)
    per_size = Limits(limits.seconds * len(_SIZES), limits.memory, limits.file)
    with temporary_folder() as folder:
        progress = folder / "step"
        progress.touch()
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            request = {"root": str(root.absolute()), "manifest": to_json(manifest)}
            command = module_command(_MODULE, str(progress))
            failure = run_limited(command, per_size, output, json.dumps(request))
            output.seek(0)
            lines = [line.strip() for line in output.read().splitlines() if line.strip()]
        step = progress.read_text() or "starting"
    if not failure and step != _PASSED:
        failure = "it ended before the last step"
    if failure:
        tail = "; ".join(lines[-_TAIL:])[:300]
        raise EngineError(
            f"bundle '{root}' did not pass its trial: {step}: {failure}"
            + (f" ({tail})" if tail else ""),
            do="With isolate='auto' (--isolate auto) it runs in a process of its own, where a "
            "crash is an error; a required signature, or trusted=True, leaves the trial out.",
        )
    remember_tried(manifest)


@program_output()
def main(progress: str) -> None:
    """The child process: reads the request from a line of its standard input."""
    request = json.loads(sys.stdin.readline())
    end_with_parent()
    warnings.simplefilter("ignore")
    manifest = from_json(Manifest, request["manifest"], "manifest")

    def on_step(name: str) -> None:
        Path(progress).write_text(name)

    try:
        _load_and_run(Path(request["root"]), manifest, on_step)
    except DeployError as error:
        sys.exit(str(error))
    on_step(_PASSED)


def _load_and_run(root: Path, manifest: Manifest, on_step: Callable[[str], None]) -> None:
    size = ""
    with load_chain(root, manifest, lambda step: on_step(step + size)) as chain:
        post_name = f"host step '{manifest.post.id}'" if manifest.post else ""
        on_step(post_name)
        post = make_post(manifest.post.id, manifest.post.params) if manifest.post else None
        for size_name, inputs in trial_inputs(manifest.inputs):
            size = f" at the {size_name} size"
            outputs = chain(inputs)
            if post is not None and manifest.post is not None:
                on_step(post_name + size)
                _run_post(post, manifest.post.inputs, outputs, manifest)


def _run_post(post: Post, inputs: Sequence[str], outputs: Tensors, manifest: Manifest) -> None:
    pre = manifest.pre
    placements = [Placement(1.0, 1.0, pre.height, pre.width)] if pre else None
    placed_results(post, inputs, outputs, placements)


def trial_inputs(specs: Specs) -> Iterator[tuple[str, Mapping[str, Array]]]:
    """Inputs of ones at each size that the inputs may have: the usual, smallest and largest.

    Ones are divisors, and nearly everywhere valid indices: no honest model crashes on them.

    Args:
        specs: of the chain's inputs.

    Raises:
        EngineError: an input has no known rank, or a dtype that this machine's NumPy has not.
    """
    has_sizes = any(isinstance(dim, Dynamic) for spec in specs for dim in spec.dims)
    for size, choose in _SIZES.items():
        if size == "usual" or has_sizes:
            yield size, {spec.name: _ones(spec, choose) for spec in specs}


def _ones(spec: TensorSpec, choose: Callable[[Dynamic], int]) -> Array:
    if spec.shape is None:
        raise EngineError(f"input '{spec.name}'", expected="a known rank", got=str(spec))
    try:
        dtype = numpy_dtype(spec.dtype)
    except TypeError as error:
        raise EngineError(
            f"input '{spec.name}' is {spec.dtype}, which NumPy does not have here",
            do="pip install ml-dtypes",
        ) from error
    shape = [choose(dim) if isinstance(dim, Dynamic) else dim for dim in spec.shape]
    return np.ones(shape, dtype)


if __name__ == "__main__":
    main(sys.argv[1])
