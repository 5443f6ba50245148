"""What a run is told about a device: how it is reached, and what it is to do there."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class DeviceRecipe:
    """A device on which a run measures its bundle.

    Attributes:
        name: of its file in the configuration group ``device``.
        host: as ``ssh`` takes it, such as ``pi@raspberrypi``; None is this machine.
        python: the interpreter there.
        folder: the folder there for bundles and for environments of the runtime.
        ssh: further options of ``ssh``, such as ``["-p", "2222"]``.
        extras: of the runtime there beside those of the bundle's engines, such as ``fast``.
        wheels: a folder here with wheels for a device that has no network; None lets ``pip``
            install there from its own index.
        tune: whether to keep the fastest engines and threads there.
        timeout: seconds for each command there.
    """

    name: str = ""
    host: str | None = None
    python: str = "python3"
    folder: str = "~/backend-chain"
    ssh: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)
    wheels: str | None = None
    tune: bool = False
    timeout: float = 3600.0
