"""The program that a desk runs on a device: it answers requests until the desk is gone.

The desk sends this text over SSH to the Python there, so it imports the standard library alone. A
request is a line of JSON on standard input; answers are marked lines on standard output, beside
which the files of a login shell may print what they like. Where standard input ends or stays
silent, the connection is lost: what was started here is ended, and the lock with it.

In the folder of the device:

    lock                  locked while a desk works here; its content names the holder
    objects/<sha256>      files that were sent and not yet put in place (``.part``: not checked)
    <kind>/<name>/        a tree of files: kinds are bundles, data, code and wheels
    <kind>/<name>.json    what the desk sent there; written last
    environments/<key>/   a virtual environment of the runtime, with a stamp that is written last
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

MARK = "@backend-chain@ "  # begins each line that is for the desk
KINDS = ("bundles", "data", "code", "wheels")
_STAMP = "installed.json"
_SILENCE = 180.0  # seconds after which a desk that sends nothing is taken for gone
_ENDING = 10.0  # seconds for a child to undo what it has begun
_MOST_OUTPUT = 64 << 20  # bytes of a child's standard output
_KEPT = {"bundles": 8, "data": 2, "code": 4, "wheels": 0, "environments": 3}
_PIECE = 1 << 15  # characters of a text in an answer
_TOLD = ("Downloading ", "Building wheel")  # of what pip prints


class FaultError(Exception):
    """What is wrong here, in the parts of the desk's errors."""

    def __init__(self, what: str, *, expected: str = "", got: str = "", do: str = "") -> None:
        super().__init__(what)
        self.parts = {"what": what, "expected": expected, "got": got, "do": do}


class LinkLostError(Exception):
    """The desk is gone."""


class Desk:
    """The desk's end of the connection."""

    def __init__(self) -> None:
        self._received = b""

    def request(self) -> Mapping[str, Any]:
        """The next request; empty lines are signs of life."""
        while True:
            line, found, rest = self._received.partition(b"\n")
            if not found:
                self.listen(_SILENCE)
                continue
            self._received = rest
            if line.strip():
                request: Mapping[str, Any] = json.loads(line)
                return request

    def listen(self, seconds: float) -> None:
        """Receive what comes within some seconds.

        Raises:
            LinkLostError: nothing came, or the connection has ended.
        """
        if not select.select([0], [], [], seconds)[0]:
            raise LinkLostError
        data = os.read(0, 1 << 16)
        if not data:
            raise LinkLostError
        self._received += data

    def send(self, **message: Any) -> None:
        """Send a marked line."""
        print(MARK + json.dumps(message), flush=True)


class Device:
    """What is asked for here.

    Args:
        folder: of the device.
        desk: who asks.
    """

    def __init__(self, folder: Path, desk: Desk) -> None:
        self._folder, self._desk = folder, desk
        self._lock: int | None = None
        self.answers: Mapping[str, Callable[..., Mapping[str, Any]]] = {
            "probe": self.probe,
            "lock": self.lock,
            "stale": self.stale,
            "missing": self.missing,
            "assemble": self.assemble,
            "forget": self.forget,
            "installed": self.installed,
            "install": self.install,
            "run": self.run,
            "prune": self.prune,
            "clean": self.clean,
        }

    def probe(self) -> Mapping[str, Any]:
        """What this machine is, and what is installed."""
        home = next(path for path in (self._folder, *self._folder.parents) if path.is_dir())
        return {
            "python": platform.python_version(),
            "executable": sys.executable,
            "system": _system(),
            "architecture": platform.machine(),
            "libc": " ".join(platform.libc_ver()).strip(),
            "cores": _cores(),
            "memory": _memory(),
            "governor": _governor(),
            "disk": shutil.disk_usage(home).free,
            "writable": _is_writable(home),
            "pip": importlib.util.find_spec("pip") is not None,
            "venv": importlib.util.find_spec("venv") is not None,
            "ensurepip": importlib.util.find_spec("ensurepip") is not None,
            "rsync": shutil.which("rsync") is not None,
            "clock": time.time(),
            "folder": str(self._folder),
            "environments": _stamped(self._folder / "environments"),
            "bundles": [path.stem for path in _notes(self._folder / "bundles")],
            "holder": self._holder(),
        }

    def lock(self, holder: str, seconds: float) -> Mapping[str, Any]:
        """Lock the device for as long as this program runs."""
        with _disk_faults(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        end = time.monotonic() + seconds
        while not _try_lock(handle):
            if time.monotonic() > end:
                raise FaultError(
                    f"the device is in use by {self._holder() or 'somebody'}",
                    do="Wait until that run has ended, or end it.",
                )
            self._listen_briefly()
        os.ftruncate(handle, 0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        os.pwrite(handle, f"{holder} since {since} (the device's clock)".encode(), 0)
        self._lock = handle
        return {}

    def stale(self, trees: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
        """Which trees are not here as the desk has them, by the digests of their listings."""
        return {"stale": [tree["name"] for tree in trees if not self._is_there(tree)]}

    def missing(self, trees: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Which files of trees are not here, each with how much of it was received before."""
        objects = self._objects()
        wanted = {sha: size for tree in trees for sha, size in tree["files"].values()}
        for tree in trees:
            self._take_apart(tree)
        for path in objects.iterdir():
            size = wanted.get(path.name.removesuffix(".part"))
            if size is None or path.stat().st_size > size:
                path.unlink()
        received = {sha: _received(objects, sha, size) for sha, size in wanted.items()}
        missing = {sha: size for sha, size in received.items() if not (objects / sha).exists()}
        return {"missing": missing, "disk": shutil.disk_usage(objects).free}

    def assemble(self, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put a tree's files in place, after a look at their hashes; or say which are damaged."""
        objects, target = self._objects(), self._tree(tree)
        with _disk_faults(self._folder):
            damaged = [sha for sha, _ in tree["files"].values() if not _check_object(objects, sha)]
            if damaged:
                return {"damaged": damaged}
            staging = target.with_name(f".{target.name}")
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            _place_files(objects, staging, tree["files"])
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
            os.sync()
            _note(target).write_text(json.dumps({key: tree[key] for key in ("digest", "files")}))
        return {"damaged": []}

    def forget(self, kind: str, name: str) -> Mapping[str, Any]:
        """Look at each file of a tree again the next time; files that are right stay."""
        note = _note(self._tree({"kind": kind, "name": name}))
        if note.exists():
            sent = json.loads(note.read_text())
            note.write_text(json.dumps({**sent, "digest": ""}))
        return {}

    def installed(self, key: str) -> Mapping[str, Any]:
        """Whether an environment is there; one that was not finished is removed."""
        environment = self._environment(key)
        if (environment / _STAMP).is_file():
            os.utime(environment / _STAMP)
            return {"installed": True}
        shutil.rmtree(environment, ignore_errors=True)
        return {"installed": False}

    def install(
        self, key: str, wheels: str, wheel: str, extras: Sequence[str], index: bool
    ) -> Mapping[str, Any]:
        """Make the environment and install the runtime there.

        Args:
            key: the name of the environment.
            wheels: the name of the tree with wheels.
            wheel: the file of the runtime there.
            extras: of it.
            index: whether pip may ask its index; else all that it needs is in the tree.
        """
        environment = self._environment(key)
        folder = self._folder / "wheels" / wheels
        source = f"{folder / wheel}[{','.join(extras)}]" if extras else str(folder / wheel)
        where = [] if index else ["--no-index", "--find-links", str(folder)]
        try:
            command = self._new_environment(environment)
            self._pip([*command, "install", "--retries", "2", *where, source], index)
        except BaseException:
            shutil.rmtree(environment, ignore_errors=True)
            raise
        with _disk_faults(self._folder):
            os.sync()
            (environment / _STAMP).write_text(json.dumps({"python": platform.python_version()}))
        return {}

    def run(
        self, words: Sequence[str], cwd: str, environment: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Run a program; its errors are sent as they come, its output at its end."""
        code, output = self._child(words, cwd, environment, lambda line: True)
        text = output.decode(errors="replace")
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        return {"code": code, "output": pieces}

    def prune(self, used: Sequence[str]) -> Mapping[str, Any]:
        """Remove the oldest trees and environments beyond the newest few, but none of ``used``."""
        for kind in KINDS:
            notes = [path for path in _notes(self._folder / kind) if path.stem not in used]
            for note in notes[_KEPT[kind] :]:
                note.unlink()
                shutil.rmtree(note.with_suffix(""), ignore_errors=True)
            self._remove_unlisted(kind)
        environments = self._folder / "environments"
        for name in [name for name in _stamped(environments) if name not in used][
            _KEPT["environments"] :
        ]:
            shutil.rmtree(environments / name, ignore_errors=True)
        return {}

    def clean(self) -> Mapping[str, Any]:
        """Remove all that a desk has put here."""
        for name in ("objects", "environments", *KINDS):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        left = [path for path in self._folder.iterdir() if path.name != "lock"]
        if not left:
            (self._folder / "lock").unlink(missing_ok=True)
            self._folder.rmdir()
        return {"left": len(left)}

    def _holder(self) -> str:
        """Who has the lock; empty where nobody has."""
        try:
            handle = os.open(self._folder / "lock", os.O_RDWR)
        except OSError:
            return ""
        try:
            return "" if _try_lock(handle) else os.pread(handle, 200, 0).decode(errors="replace")
        finally:
            os.close(handle)

    def _listen_briefly(self) -> None:
        if select.select([0], [], [], 0.2)[0]:
            self._desk.listen(0)

    def _objects(self) -> Path:
        objects = self._folder / "objects"
        with _disk_faults(self._folder):
            objects.mkdir(parents=True, exist_ok=True)
        return objects

    def _tree(self, tree: Mapping[str, Any]) -> Path:
        kind, name = tree["kind"], tree["name"]
        if kind not in KINDS or not re.fullmatch(r"[\w][\w.-]*", name):
            raise FaultError(f"no tree can be called {kind}/{name}")
        return self._folder / str(kind) / str(name)

    def _environment(self, key: str) -> Path:
        if not re.fullmatch(r"\w+", key):
            raise FaultError(f"no environment can be called {key}")
        return self._folder / "environments" / key

    def _is_there(self, tree: Mapping[str, str]) -> bool:
        target = self._tree(tree)
        note = _note(target)
        if not (note.is_file() and target.is_dir()):
            return False
        os.utime(note)
        return bool(json.loads(note.read_text())["digest"] == tree["digest"])

    def _take_apart(self, tree: Mapping[str, Any]) -> None:
        """Make objects of the files of an earlier tree of this name, and remove it."""
        target = self._tree(tree)
        note = _note(target)
        if note.is_file():
            for name, (sha, size) in json.loads(note.read_text())["files"].items():
                path, to = target / name, self._objects() / sha
                fits = path.is_file() and path.stat().st_size == size and not to.exists()
                if fits and _sha256(path) == sha:
                    path.rename(to)
            note.unlink()
        shutil.rmtree(target, ignore_errors=True)

    def _remove_unlisted(self, kind: str) -> None:
        """Remove what was not finished."""
        folder = self._folder / kind
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and not _note(path).exists():
                shutil.rmtree(path, ignore_errors=True)

    def _new_environment(self, folder: Path) -> list[str]:
        """A new virtual environment; returns the command of a pip that installs there."""
        python = str(folder / "bin" / "python")
        make = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
        if importlib.util.find_spec("pip") is not None:
            self._checked(make)
            return [sys.executable, "-m", "pip", "--python", python]
        if importlib.util.find_spec("ensurepip") is None:
            raise FaultError(
                "the Python of the device has no pip",
                expected="pip, or the modules venv and ensurepip",
                do="Install it there, such as with: sudo apt install python3-pip python3-venv",
            )
        self._checked([word for word in make if word != "--without-pip"])
        return [python, "-m", "pip"]

    def _checked(self, words: Sequence[str]) -> None:
        lines: list[str] = []
        code, output = self._child(words, str(self._folder), {}, lambda line: lines.append(line))
        if code != 0:
            text = [*output.decode(errors="replace").splitlines(), *lines]
            raise FaultError(
                "the Python of the device cannot make a virtual environment",
                got=_last(text) or f"exit code {code}",
                do="Install the module venv there, such as with: sudo apt install python3-venv",
            )

    def _pip(self, words: Sequence[str], index: bool) -> None:
        lines: list[str] = []

        def told(line: str) -> bool:
            lines.append(line)
            return line.strip().startswith(_TOLD)

        settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        code, output = self._child(words, str(self._folder), settings, told)
        if code == 0:
            return
        lines += output.decode(errors="replace").splitlines()
        errors = [line for line in lines if "ERROR" in line or "error:" in line]
        refused = "Could not install packages due to an OSError"
        shown = next((line for line in errors if refused in line), _last(errors) or _last(lines))
        raise FaultError(
            "the runtime cannot be installed on the device",
            got=shown.removeprefix("ERROR: ") or f"exit code {code}",
            do="Without a network there, give a folder with wheels: device.wheels=FOLDER"
            if index
            else "Put what is missing into the folder that device.wheels names.",
        )

    def _child(
        self,
        words: Sequence[str],
        cwd: str,
        environment: Mapping[str, str],
        told: Callable[[str], Any],
    ) -> tuple[int, bytes]:
        """Run a program in a process group of its own; it ends with the desk."""
        with _disk_faults(Path(words[0])):
            child = subprocess.Popen(
                list(words),
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[self._lock] if self._lock is not None else [],
            )
        try:
            output = self._streams(child, told)
            return child.wait(), output
        finally:
            _end(child)

    def _streams(self, child: subprocess.Popen[bytes], told: Callable[[str], Any]) -> bytes:
        assert child.stdout is not None and child.stderr is not None
        output, errors = child.stdout.fileno(), child.stderr.fileno()
        received = {output: b"", errors: b""}
        heard = time.monotonic()
        while received:
            ready = select.select([0, *received], [], [], 1.0)[0]
            if 0 in ready:
                self._desk.listen(0)
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE:
                raise LinkLostError
            for handle in [handle for handle in ready if handle in received]:
                data = os.read(handle, 1 << 16)
                received[handle] += data
                if handle == errors:
                    received[errors] = self._send_lines(received[errors], told, not data)
                elif len(received[output]) > _MOST_OUTPUT:
                    raise FaultError("a program on the device prints too much")
                if not data and handle == output:
                    kept = received[output]
                if not data:
                    del received[handle]
        return kept

    def _send_lines(self, data: bytes, told: Callable[[str], Any], ended: bool) -> bytes:
        """Send whole lines to the desk; returns the rest."""
        *lines, rest = data.split(b"\n")
        for line in [*lines, rest] if ended and rest else lines:
            text = line.decode(errors="replace").rstrip()
            if text and told(text) is True:
                self._desk.send(line=text[:2000])
        return b"" if ended else rest


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _disk_faults(path: Path) -> Iterator[None]:
    """Name what cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise FaultError(
            f"'{error.filename or path}' on the device: {error.strerror}",
            do="Free space there, or choose another device.folder.",
        ) from error


def _is_writable(folder: Path) -> bool:
    """Whether files can be made there; permission bits mislead for root and on some mounts."""
    try:
        with tempfile.TemporaryDirectory(dir=folder):
            return True
    except OSError:
        return False


def _received(objects: Path, sha: str, size: int) -> int:
    """How many bytes of a file have been received; one that is complete is looked at."""
    part = objects / f"{sha}.part"
    received = part.stat().st_size if part.exists() else 0
    if received == size and part.exists():
        return size if _check_object(objects, sha) else 0
    return received


def _check_object(objects: Path, sha: str) -> bool:
    """Whether a file is here and has been looked at; one that is damaged is removed."""
    if (objects / sha).exists():
        return True
    part = objects / f"{sha}.part"
    if not part.exists():
        return False
    if _sha256(part) != sha:
        part.unlink()
        return False
    part.rename(objects / sha)
    return True


def _place_files(objects: Path, folder: Path, files: Mapping[str, tuple[str, int]]) -> None:
    """Move objects to the names of their files; all but the last of the same content are copies."""
    times = Counter(sha for sha, _ in files.values())
    for name, (sha, _) in files.items():
        path = folder / name
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise FaultError(f"no file can be called {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        times[sha] -= 1
        if times[sha]:
            shutil.copyfile(objects / sha, path)
        else:
            (objects / sha).rename(path)


def _note(tree: Path) -> Path:
    return tree.with_name(f"{tree.name}.json")


def _notes(folder: Path) -> list[Path]:
    """The notes of trees, the one that was used last first."""
    paths = list(folder.glob("*.json")) if folder.is_dir() else []
    return sorted(paths, key=lambda path: -path.stat().st_mtime)


def _stamped(folder: Path) -> list[str]:
    """The names of finished environments, the one that was used last first."""
    stamps = folder.glob(f"*/{_STAMP}") if folder.is_dir() else ()
    return [path.parent.name for path in sorted(stamps, key=lambda path: -path.stat().st_mtime)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started in its group."""
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_ENDING)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _system() -> str:
    name = ""
    with suppress(OSError):
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    kernel = f"{platform.system()} {platform.release()}"
    return f"{name}, {kernel}" if name else kernel


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def _governor() -> str:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return ""


def serve(folder: str) -> NoReturn:
    """Answer requests until the desk is gone.

    Args:
        folder: of the device, such as ``~/backend-chain``.
    """
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _stop)
    desk = Desk()
    device = Device(Path(folder).expanduser().absolute(), desk)
    print()  # ends what a login shell may have printed without a line break
    desk.send(reply={})
    with suppress(LinkLostError, BrokenPipeError):
        while True:
            _answer(device, desk)
    sys.stdout = None  # nobody reads what is still in its buffer
    sys.exit(0)


def _answer(device: Device, desk: Desk) -> None:
    request = dict(desk.request())
    try:
        desk.send(reply=device.answers[request.pop("do")](**request))
    except FaultError as fault:
        desk.send(fault=fault.parts)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        place = f"'{error.filename}' on the device" if error.filename else "the device"
        desk.send(fault={"what": f"{place}: {error.strerror}"})


def _stop(number: int, frame: object) -> None:
    raise LinkLostError
