"""From a bundle's files to a chain."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from backends.contract import Artifact, Runner
from backends.registry import loader
from deploy.runtime.bundle.manifest import BundleError, Manifest, called_steps
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.host_steps import Call, HostRunner, make_host_function
from deploy.runtime.execution.schedule import schedule


def check_built(root: Path, steps: Sequence[Artifact]) -> None:
    """Refuse a bundle whose engines the device has still to build.

    Raises:
        BundleError: with their names.
    """
    waiting = ", ".join(f"'{step.name}'" for step in steps if step.pending)
    if waiting:
        raise BundleError(
            f"bundle '{root}': the engine of {waiting} is not built yet",
            do=f"On the device that runs it: python -m deploy.runtime build {root}",
        )


def load_chain(root: Path, manifest: Manifest) -> Chain:
    """Every engine and host step of a bundle, wired.

    Args:
        root: the bundle, of which the files are known to be those of the manifest.
        manifest: its manifest, with the engines that are to run.

    Raises:
        MissingLibraryError: an engine is not installed here.
        EngineError: an engine does not load its files.
    """
    apart = called_steps(manifest)
    steps = [step for step in manifest.steps if step.name not in apart]
    order = schedule([*steps, *manifest.host], manifest.inputs, manifest.outputs)
    with ExitStack() as loaded:
        runners: dict[str, Runner] = {}
        for step in manifest.steps:
            runners[step.name] = load(root, step, alone=len(manifest.steps) == 1)
            loaded.push(runners[step.name].__exit__)
        calls = {step.name: Call(step, runners[step.name]) for step in manifest.steps}
        for host in manifest.host:
            segments = {name: calls[name] for name in host.calls}
            runners[host.name] = HostRunner(host, make_host_function(host, segments))
        loaded.pop_all()  # all of them are there: the chain closes them
    ready = [(step, runners[step.name]) for step in order]
    rest = [(step, runners[step.name]) for step in manifest.steps if step.name in apart]
    return Chain(ready, manifest.inputs, manifest.outputs, rest)


def load(root: Path, step: Artifact, alone: bool) -> Runner:
    """An engine, with what of its options is known only here.

    Args:
        root: the bundle.
        step: an artifact of it.
        alone: whether no other engine is in the chain, whose threads would be disturbed.

    Raises:
        MissingLibraryError, EngineError: as of ``load_chain``.
    """
    options = dict(step.options)
    if options.get("spin") == "auto":
        options["spin"] = "on" if alone else "run"
    return loader(step.backend)(replace(step, options=options), root)
