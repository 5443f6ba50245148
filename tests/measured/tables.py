"""What is measured for the documentation, and what the last measurement recorded.

``docs/benchmarks/tables.toml`` is written by hand, ``docs/benchmarks/measured.json`` by
``scripts/bench pages``.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backends.files import atomic_write

FOLDER = Path("docs", "benchmarks")
TABLES, RECORDS = FOLDER / "tables.toml", FOLDER / "measured.json"
_NVIDIA = Path("/dev/nvidiactl")
_CPU = Path("/proc/cpuinfo")
_DIGITS = 16  # of a SHA-256


@dataclass(frozen=True)
class Record:
    """A measurement.

    Attributes:
        date: its day; empty where there was none yet.
        commit: what was checked out.
        machine: processor, cores, GPU and load.
        versions: of Python and of the packages that take part.
        sources: a digest of each source of the table; empty where it is not known.
    """

    date: str = ""
    commit: str = ""
    machine: str = ""
    versions: str = ""
    sources: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Table:
    """What one entry measures; its parts may lie in several places of its page.

    Attributes:
        name: of the entry.
        page: below ``docs``.
        commands: run one after the other; their standard output has the parts.
        minutes: about how many they take on two cores.
        sources: files and folders, or patterns, whose content decides the figures.
        packages: distributions whose versions are told.
    """

    name: str
    page: str
    commands: tuple[str, ...]
    minutes: float
    sources: tuple[str, ...]
    packages: tuple[str, ...]

    def digests(self, root: Path) -> dict[str, str]:
        """The digest of each source as it is now."""
        return {source: digest(root, source) for source in self.sources}

    def changed(self, root: Path, record: Record) -> list[str]:
        """The sources that are no longer what was measured."""
        known = record.sources or {}
        return [one for one, now in self.digests(root).items() if known.get(one) != now]


def read_tables(root: Path) -> dict[str, Table]:
    """Every entry by its name, in the order in which they are measured."""
    entries = tomllib.loads((root / TABLES).read_text())["tables"]
    return {name: _table(name, entry) for name, entry in entries.items()}


def _table(name: str, entry: Mapping[str, object]) -> Table:
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return Table(**{"name": name, "packages": (), **entry, **lists})  # type: ignore[arg-type]


def read_pages(root: Path) -> dict[str, str]:
    """What each page measures, in the order of the index."""
    pages: dict[str, str] = tomllib.loads((root / TABLES).read_text())["pages"]
    return pages


def read_records(root: Path) -> dict[str, Record]:
    """The last measurement of each entry that was measured."""
    return {
        name: Record(**record) for name, record in json.loads((root / RECORDS).read_text()).items()
    }


def write_records(root: Path, records: Mapping[str, Record]) -> None:
    """Replace the file of the records."""
    texts = {name: asdict(records[name]) for name in sorted(records)}
    with atomic_write(root / RECORDS) as file:
        file.write_text(json.dumps(texts, indent=1) + "\n")


def digest(root: Path, source: str) -> str:
    """SHA-256 of the names and contents of the files that a source has.

    Raises:
        SystemExit: it has none.
    """
    found = hashlib.sha256()
    files = sorted(file for path in root.glob(source) for file in _files(path))
    if not files:
        raise SystemExit(f"error: {TABLES}: the source '{source}' matches no file; correct it")
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        found.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return found.hexdigest()[:_DIGITS]


def _files(path: Path) -> list[Path]:
    every = [path] if path.is_file() else path.rglob("*")
    return [file for file in every if file.is_file() and "__pycache__" not in file.parts]


def lacking(table: Table) -> str:
    """An error that names the packages that are not installed; empty where all are."""
    absent = [package for package in table.packages if _version(package) is None]
    if not absent:
        return ""
    names = " ".join(absent)
    return f"error: '{table.name}' needs what is not installed: run  pip install {names}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def new_record(root: Path, table: Table, commit: str) -> Record:
    """What is known before an entry is measured.

    Raises:
        SystemExit: one of its packages is not installed.
    """
    if error := lacking(table):
        raise SystemExit(error)
    packages = [f"{package} {_version(package)}" for package in table.packages]
    versions = ", ".join([f"Python {platform.python_version()}", *packages])
    return Record(date.today().isoformat(), commit, machine(), versions, table.digests(root))


def machine() -> str:
    """The processor, its cores, whether there is a GPU, and the load of the last minute."""
    names = [line for line in _CPU.read_text().splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    gpu = "with an NVIDIA GPU" if _NVIDIA.exists() else "no GPU"
    return f"{name}, {os.cpu_count()} cores, {gpu}, load {os.getloadavg()[0]:.1f}"


def checked_out(root: Path) -> str:
    """The commit, with a word where files differ from it; empty outside of a repository."""
    command = ["git", "describe", "--always", "--dirty=, changed"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()
