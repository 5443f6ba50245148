"""The process that runs a bundle for another one.

``python -m deploy.runtime.isolation.worker CONNECTION REQUESTS RESULTS SECONDS`` gets three
descriptors: a socket, and the memory of requests and of results. The first request loads a bundle;
each further one names a function:

    chain   the chain's inputs -> its outputs
    step    the inputs of one step -> its outputs
    post    the chain's outputs -> results
    results the chain's inputs -> results
    notes   nothing -> what the engines tell of how they run
"""

from __future__ import annotations

import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from backends.codec import from_json
from backends.contract import DeployError, Runner, Tensors
from backends.process.child import end_with_parent
from backends.terminal import program_output
from deploy.runtime.bundle.integrity import verify_files
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.loading import load_chain
from deploy.runtime.execution.post_steps import Post, make_post, placed_results
from deploy.runtime.isolation.results import pack_results
from deploy.runtime.isolation.shared_memory import PLACE, Message, SharedMemory, Values
from deploy.runtime.vision.compiled_later import compiled_first
from deploy.runtime.vision.image import Placement
from deploy.runtime.vision.nms import nms

_CORES = os.cpu_count() or 1


class LoadedBundle:
    """A bundle's chain and post-processing, and the functions that a parent calls.

    Args:
        root: the bundle.
        manifest: its manifest, with the engines that are to run.
        on_step: called with what begins now, such as ``step 'head'``.
    """

    def __init__(self, root: Path, manifest: Manifest, on_step: Callable[[str], None]) -> None:
        on_step("reading the files")
        verify_files(root, manifest, [name for step in manifest.steps for name in step.files])
        self._on_step = on_step
        self._chain: Chain = load_chain(root, manifest, on_step).__enter__()
        steps = (*self._chain.steps, *self._chain.called)
        self._runners: Mapping[str, Runner] = {step.name: runner for step, runner in steps}
        self._post: Post | None = None
        if manifest.post is not None:
            self._post_inputs = manifest.post.inputs
            self._post_name = f"host step '{manifest.post.id}'"
            on_step(self._post_name)
            self._post = make_post(manifest.post.id, manifest.post.params)
            # compiled here, as the time limit of a call is not meant for that
            nms(np.zeros((1, 4), np.float32), np.zeros(1), np.zeros(1), iou_thr=0.5, most=1)

    def call(self, request: Message) -> Message:
        """Call the function that the request names."""
        tensors, values = request
        match values["function"]:
            case "chain":
                return self._run_chain(tensors, values["timed"])
            case "step":
                self._on_step(f"step '{values['step']}'")
                return Message(self._runners[values["step"]](tensors), {})
            case "post":
                return self._run_post(tensors, values["placements"])
            case "results":
                return self._results(tensors, values["placements"], values["timed"])
            case "notes":
                return Message({}, {"notes": self._chain.notes()})
        raise DeployError(f"function '{values['function']}' of a bundle's process")

    def _run_chain(self, tensors: Tensors, timed: bool) -> Message:
        if not timed:
            return Message(self._chain(tensors), {})
        seconds: dict[str, float] = {}
        outputs = self._chain.timed(tensors, seconds)
        return Message(outputs, {"seconds": seconds})

    def _run_post(self, outputs: Tensors, placements: Sequence[Values] | None) -> Message:
        if self._post is None:
            raise DeployError("this bundle has no host step for its outputs")
        self._on_step(self._post_name)
        places = None if placements is None else [Placement(**place) for place in placements]
        results = placed_results(self._post, self._post_inputs, outputs, places)
        return Message(pack_results(results), {"count": len(results)})

    def _results(self, inputs: Tensors, placements: Sequence[Values], timed: bool) -> Message:
        outputs, values = self._run_chain(inputs, timed)
        start = time.perf_counter()
        results = self._run_post(outputs, placements).arrays
        return Message(results, {**values, "post": time.perf_counter() - start})


@program_output()
@compiled_first()  # a call has a limit of time
def main(connection: int, requests: int, results: int, seconds: float) -> None:
    """Answer requests until the parent closes the connection."""
    end_with_parent()
    warnings.simplefilter("ignore")
    incoming, outgoing = SharedMemory(requests), SharedMemory(results)
    loaded: LoadedBundle | None = None
    with socket.socket(fileno=connection) as parent:
        while place := parent.recv(PLACE.size):
            _limit_processor(seconds)
            request = incoming.read(place)
            try:
                if loaded is None:
                    loaded = _load(request.values, outgoing.write_status)
                    reply = Message({}, {})
                else:
                    reply = loaded.call(request)
            except DeployError as error:  # any other ends this process, and is in its output
                reply = Message({}, {"kind": type(error).__name__, "error": str(error)})
            parent.sendall(outgoing.write(reply))


def _load(values: Values, on_step: Callable[[str], None]) -> LoadedBundle:
    manifest = from_json(Manifest, values["manifest"], "manifest")
    return LoadedBundle(Path(values["root"]), manifest, on_step)


def _limit_processor(seconds: float) -> None:
    """Let the system end this process where a call takes all cores for this time.

    The parent measures the time of a call too, unless it is stopped itself.
    """
    if sys.platform != "win32":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit = usage.ru_utime + usage.ru_stime + seconds * _CORES + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(limit) if hard == resource.RLIM_INFINITY else min(int(limit), hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
