"""A bundle on a device: shipped there if it is not this machine, and measured there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from backends.files import temporary_folder
from deploy.devices.errors import DeviceError
from deploy.devices.facts import DeviceFacts, check_facts, find_facts, skew_text
from deploy.devices.holder import Done, lock_device
from deploy.devices.local import measure_here
from deploy.devices.runtime import Runtime, needed_runtime, shown
from deploy.devices.session import DeviceSession, open_session
from deploy.devices.transfer import send_trees
from deploy.devices.trees import Tree, bundle_tree, code_tree, data_tree
from deploy.devices.work import DeviceWork, measure_words
from deploy.recipe.devices import DeviceRecipe
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.trust import is_own
from deploy.runtime.device_record import DeviceRecord, parse_record

_ERROR = "error: "


@dataclass(frozen=True)
class _Installed:
    installed: bool


@dataclass(frozen=True)
class _Run:
    code: int
    output: tuple[str, ...]


@dataclass(frozen=True)
class _Shipment:
    """What is put on the device.

    Attributes:
        bundle: the bundle.
        data: the data set, if there is one, and its path inside of its tree.
        code: the module of a step of the user's own, if there is one.
    """

    bundle: Tree
    data: tuple[Tree, str] | None
    code: Tree | None

    @property
    def trees(self) -> list[Tree]:
        data = [self.data[0]] if self.data else []
        return [self.bundle, *data, *([self.code] if self.code else [])]

    def dataset_path(self, folder: str) -> str | None:
        """The path of the data set on a device with this folder."""
        return f"{folder}/data/{self.data[0].name}/{self.data[1]}" if self.data else None


def measure_on(
    device: DeviceRecipe, bundle: Path, work: DeviceWork, tell: Callable[[str], None]
) -> DeviceRecord:
    """Measure a bundle on a device.

    Args:
        device: where.
        bundle: its folder here.
        work: what is measured.
        tell: is given a line on what is being done.

    Raises:
        DeviceError: the device cannot be reached or lacks something, or the bundle fails there.
    """
    if device.host is None:
        return measure_here(device, bundle, work, tell)
    with temporary_folder() as folder:
        shipment = _Shipment(
            bundle_tree(bundle, folder),
            data_tree(work.dataset) if work.dataset else None,
            code_tree(work.post) if work.post else None,
        )
        with open_session(device, tell) as session:
            record = _measured(session, bundle, work, shipment, folder)
    return replace(record, device=device.name, at=datetime.now(UTC).isoformat(timespec="seconds"))


def _measured(
    session: DeviceSession, bundle: Path, work: DeviceWork, shipment: _Shipment, folder: Path
) -> DeviceRecord:
    facts = _checked_facts(session)
    lock_device(session, f"bundle {bundle.name}")
    manifest = read_manifest(bundle)
    runtime = needed_runtime(session.device, facts, manifest, work.dataset is not None, folder)
    _provide(session, facts, runtime, shipment.trees)
    session.tell(f"measuring on {facts.system}, {facts.architecture}, {facts.cores} cores")
    words = measure_words(session.device, work, shipment.dataset_path(facts.folder))
    words = [f"{facts.folder}/bundles/{shipment.bundle.name}", "--json", "-", *words]
    if is_own(manifest):
        words.append("--own")
    record = _measure(session, facts, runtime, shipment, words)
    used = [tree.name for tree in shipment.trees]
    session.ask(Done, "prune", used=[*used, runtime.key])
    return record


def _checked_facts(session: DeviceSession) -> DeviceFacts:
    facts, skew = find_facts(session)
    check_facts(session.device.name, facts)
    if skew:
        session.tell(f"{skew_text(skew)}; times of the record are of this machine")
    return facts


def _provide(
    session: DeviceSession, facts: DeviceFacts, runtime: Runtime, trees: Sequence[Tree]
) -> None:
    """Put the files on the device, and the runtime unless it is there."""
    is_there = session.ask(_Installed, "installed", key=runtime.key).installed
    wheels = [] if is_there else [runtime.tree]
    if not send_trees(session, facts.folder, [*trees, *wheels]):
        session.tell("nothing to send: all files are there")
    if not is_there:
        session.tell(f"installing the runtime{shown(runtime.extras)} (once)")
        session.ask(
            Done,
            "install",
            key=runtime.key,
            wheels=runtime.tree.name,
            wheel=runtime.wheel,
            extras=runtime.extras,
            index=runtime.index,
        )


def _measure(
    session: DeviceSession,
    facts: DeviceFacts,
    runtime: Runtime,
    shipment: _Shipment,
    words: Sequence[str],
) -> DeviceRecord:
    """Run the runtime's command, and read what it has measured."""
    folder = facts.folder
    code = f"{folder}/code/{shipment.code.name}" if shipment.code else folder
    python = f"{folder}/environments/{runtime.key}/bin/python"
    done = session.ask(
        _Run,
        "run",
        words=[python, "-P", "-m", "deploy.runtime", "measure", *words],
        cwd=code,
        environment={"PYTHONPATH": code if shipment.code else ""},
    )
    output = "".join(done.output)
    if output.strip():
        return parse_record(output.encode(), f"device '{session.device.name}'")
    # the next run looks at each file again
    session.ask(Done, "forget", kind=shipment.bundle.kind, name=shipment.bundle.name)
    errors = [line for line in session.lines if line.startswith(_ERROR)]
    raise DeviceError(
        f"device '{session.device.name}': the bundle cannot be measured there",
        got=(errors or [*session.lines] or [f"exit code {done.code}"])[-1].removeprefix(_ERROR),
    )
