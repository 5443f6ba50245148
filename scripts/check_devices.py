"""From the PyTorch demo to a report with two devices by one command, and the same once more.

    scripts/check-devices [--devices NAME...] [--backend BACKEND] [--out OUT]

Then it measures the sample alone on each device, to which nothing may be sent any more, and prints
tables: the seconds of the runs, and of the way there and of the check. The exit code is 1 where a
run fails, a device does not agree, or a byte is sent.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deploy.cli.devices import device_recipe
from deploy.devices.measure import measure_on
from deploy.devices.work import DeviceWork
from deploy.runtime.bundle.manifest import read_manifest
from tests.devices.ssh_server import SshServer

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = {
    "x86": ROOT / ".cache" / "x86-device" / "bin" / "python",
    "arm64": ROOT / ".cache" / "arm64" / "debian" / "usr" / "bin" / "python3",
}
HEAD = (
    "| device | bytes sent | to reach it and compare, s | to check the sample, s | in all, s |\n"
    "|---|---|---|---|---|"
)


@dataclass
class Times:
    """When a measurement told its lines, in seconds from its start."""

    start: float = field(default_factory=time.monotonic)
    lines: dict[str, float] = field(default_factory=dict)

    def tell(self, line: str) -> None:
        """Note a line."""
        self.lines[line] = time.monotonic() - self.start

    def at(self, beginning: str) -> float:
        """When a line came."""
        return next(seconds for line, seconds in self.lines.items() if line.startswith(beginning))


def main() -> None:
    """Run twice, and measure each device a third time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", nargs="+", choices=sorted(PYTHONS), default=[*PYTHONS])
    parser.add_argument("--backend", default="ncnn", help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="for the bundle and the report")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        server = SshServer(Path(name) / "server")
        try:
            check(server, arguments.devices, arguments.backend, arguments.out or Path(name))
        finally:
            server.stop()


def check(server: SshServer, devices: list[str], backend: str, out: Path) -> None:
    """Go the whole way twice, then look at what a run against unchanged devices takes."""
    configuration = server.folder / "my"
    for name in devices:
        write_device(configuration, name, server.folder)
    ssh = f"device.ssh={server.options}".replace(" ", "")
    seconds = {}
    for turn in ("first", "second"):
        start = time.monotonic()
        deploy(configuration, devices, backend, ssh, out)
        seconds[turn] = time.monotonic() - start
    bundle = out / "bundle"
    measured = {entry.name for entry in read_manifest(bundle).devices}
    page = (out / "bundle.work" / "report.html").read_text()
    missing = [name for name in devices if name not in measured or name not in page]
    if missing:
        sys.exit(f"error: {missing[0]} is not in the manifest and the report")
    print(f"| run | {', '.join(devices)}, s |\n|---|---|")
    print(*(f"| {turn} | {took:.1f} |" for turn, took in seconds.items()), sep="\n")
    print(f"\n{HEAD}")
    for name in devices:
        print_times(name, configuration, ssh, bundle)


def write_device(configuration: Path, name: str, folder: Path) -> None:
    """Describe a device as a user does, and see to it that its Python is there."""
    python = PYTHONS[name]
    if name == "x86" and not python.exists():
        venv.create(python.parents[1], with_pip=True, symlinks=True)
    file = configuration / "device" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"host: {name}\npython: {python}\nfolder: {folder}/{name}\n")


def deploy(configuration: Path, devices: list[str], backend: str, ssh: str, out: Path) -> None:
    """The command that a user types."""
    words = ["--config-dir", str(configuration), "model=yolov3", f"backend={backend}"]
    words += [f"device=[{','.join(devices)}]", ssh, f"bundle={out / 'bundle'}"]
    command = [sys.executable, "-m", "deploy", "deploy", *words, "bench.rounds=2"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)


def print_times(name: str, configuration: Path, ssh: str, bundle: Path) -> None:
    """Measure the sample alone on an unchanged device."""
    device = device_recipe(name, [ssh], configuration)
    times = Times()
    record = measure_on(device, bundle, DeviceWork(), times.tell)
    total = time.monotonic() - times.start
    if record.status != "passed":
        sys.exit(f"error: {name} does not agree")
    if "nothing to send: all files are there" not in times.lines:
        sys.exit(f"error: {name} was sent something, though nothing has changed")
    reached = times.at("measuring on")
    print(f"| {name} | 0 | {reached:.2f} | {total - reached:.2f} | {total:.2f} |", flush=True)


if __name__ == "__main__":
    main()
