"""The process that runs a bundle for another one.

``python -m deploy.runtime.isolation.worker CONNECTION REQUESTS RESULTS SECONDS`` gets three
descriptors: a connection for messages, and two files in memory for the arrays of requests and of
results. The first request loads a bundle; each further one names a function:

    chain   the chain's inputs -> its outputs
    step    the inputs of one step -> its outputs
    post    the chain's outputs, as the post-processing takes them -> detections
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from backends.codec import from_json
from backends.contract import Array, DeployError, Runner, Tensors
from backends.process.child import end_with_parent
from deploy.runtime.bundle.integrity import verify_files
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.loading import load_chain
from deploy.runtime.execution.post_steps import Post, make_post, placed_detections
from deploy.runtime.isolation.detections import pack_detections
from deploy.runtime.isolation.shared_arrays import ArrayHeader, SharedArrays
from deploy.runtime.vision.image import Placement

Values = dict[str, Any]


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
        self._post_id = manifest.post.id if manifest.post else ""
        on_step(self._post_name())
        self._post: Post | None = (
            make_post(manifest.post.id, manifest.post.params) if manifest.post else None
        )

    def call(self, request: Values, tensors: Tensors) -> tuple[Mapping[str, Array], Values]:
        """Call the function that the request names: its arrays, and its further values."""
        match request["function"]:
            case "chain":
                return self._run_chain(tensors, request["timed"])
            case "step":
                self._on_step(f"step '{request['step']}'")
                return self._runners[request["step"]](tensors), {}
            case "post" if self._post is not None:
                return self._run_post(self._post, tensors, request["placements"])
        raise DeployError(f"function '{request['function']}' of a bundle's process")

    def _run_chain(self, tensors: Tensors, timed: bool) -> tuple[Mapping[str, Array], Values]:
        if not timed:
            return self._chain(tensors), {}
        seconds: dict[str, float] = {}
        outputs = self._chain.timed(tensors, seconds)
        return outputs, {"seconds": seconds}

    def _run_post(
        self, post: Post, tensors: Tensors, placements: Sequence[Values]
    ) -> tuple[Mapping[str, Array], Values]:
        self._on_step(self._post_name())
        places = [from_json(Placement, place, "placement") for place in placements]
        detections = placed_detections(post, list(tensors.values()), places)
        return pack_detections(detections), {}

    def _post_name(self) -> str:
        return f"host step '{self._post_id}'"


def main(connection: int, requests: int, results: int, seconds: float) -> None:
    """Answer requests until the parent closes the connection."""
    end_with_parent()
    warnings.simplefilter("ignore")
    incoming, outgoing = SharedArrays(requests), SharedArrays(results)
    loaded: LoadedBundle | None = None
    with Connection(connection) as parent:
        while (request := _next_request(parent)) is not None:
            _limit_processor(seconds)
            tensors = incoming.read([ArrayHeader(*header) for header in request["tensors"]])
            reply: Values
            try:
                if loaded is None:
                    loaded = _load(request, outgoing.write_status)
                    reply = {"tensors": []}
                else:
                    arrays, values = loaded.call(request, tensors)
                    reply = {"tensors": outgoing.write(arrays), **values}
            except DeployError as error:  # any other ends this process, and is in its output
                reply = {"kind": type(error).__name__, "error": str(error)}
            parent.send_bytes(json.dumps(reply).encode())


def _load(request: Values, on_step: Callable[[str], None]) -> LoadedBundle:
    manifest = from_json(Manifest, request["manifest"], "manifest")
    return LoadedBundle(Path(request["root"]), manifest, on_step)


def _next_request(parent: Connection) -> Values | None:
    try:
        request: Values = json.loads(parent.recv_bytes())
    except EOFError:
        return None
    return request


def _limit_processor(seconds: float) -> None:
    """Let the system end this process where a call takes all cores for this time.

    The parent measures the time of a call too, unless it is stopped itself.
    """
    if sys.platform != "win32":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit = usage.ru_utime + usage.ru_stime + seconds * (os.cpu_count() or 1) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(limit) if hard == resource.RLIM_INFINITY else min(int(limit), hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
