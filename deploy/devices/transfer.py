"""Files to a device: by sftp, or by rsync where its SSH server has no sftp."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backends.files import temporary_folder
from deploy.devices.errors import DeviceError
from deploy.devices.session import DeviceSession
from deploy.devices.ssh import lost
from deploy.devices.trees import Tree

_SPARE = 64 << 20  # bytes that are left free there
_ATTEMPTS = 2  # a part of an earlier run may be damaged
_TARGET = "device"  # no name of a host: the shared connection leads to one alone


@dataclass(frozen=True)
class _Stale:
    stale: tuple[str, ...]


@dataclass(frozen=True)
class _Missing:
    missing: Mapping[str, int]
    disk: int


@dataclass(frozen=True)
class _Damaged:
    damaged: tuple[str, ...]


def send_trees(session: DeviceSession, folder: str, trees: Sequence[Tree]) -> int:
    """Put trees on a device, as far as they are not there; returns the bytes that were sent.

    Args:
        session: with the device, which is locked.
        folder: of the device, as an absolute path.
        trees: the files.

    Raises:
        DeviceError: the connection was lost, there is no space, or the device has neither sftp
            nor rsync.
    """
    labels = [tree.label for tree in trees]
    stale = set(session.ask(_Stale, "stale", trees=labels).stale)
    pending = [tree for tree in trees if tree.name in stale]
    sent = 0
    for _ in range(_ATTEMPTS):
        if not pending:
            return sent
        sent += _send_missing(session, f"{folder}/objects", pending)
        pending = [tree for tree in pending if _is_damaged(session, tree)]
    if pending:
        raise DeviceError(
            f"device '{session.device.name}': a file of {pending[0].kind}/{pending[0].name} "
            "arrives damaged",
            do="Look at the disk there, and at the files here: they must not change meanwhile.",
        )
    return sent


def _is_damaged(session: DeviceSession, tree: Tree) -> bool:
    """Put a tree together there; whether that fails, as files of it are damaged."""
    return bool(session.ask(_Damaged, "assemble", tree=tree.listed).damaged)


def _send_missing(session: DeviceSession, folder: str, trees: Sequence[Tree]) -> int:
    reply = session.ask(_Missing, "missing", trees=[tree.listed for tree in trees])
    files = {
        content.sha256: (tree.sources[name], content.size)
        for tree in trees
        for name, content in tree.files.items()
    }
    missing = {sha: files[sha] for sha in reply.missing if sha in files}
    size = sum(size - reply.missing[sha] for sha, (_, size) in missing.items())
    if not missing:
        return 0
    if size + _SPARE > reply.disk:
        raise DeviceError(
            f"device '{session.device.name}': the disk of '{session.device.folder}'",
            expected=f"{(size + _SPARE) / 1e6:,.0f} MB free",
            got=f"{reply.disk / 1e6:,.0f} MB",
            do="Free space there, or choose another device.folder.",
        )
    session.tell(f"sending {len(missing)} files, {size / 1e6:,.1f} MB")
    with _linked({sha: path for sha, (path, _) in missing.items()}) as links:
        _copy(session, links, folder, reply.missing)
    return size


def _copy(session: DeviceSession, links: Path, folder: str, parts: Mapping[str, int]) -> None:
    by_sftp = _run(session, _sftp(session), _sftp_batch(links, folder, parts))
    if by_sftp is None:
        return
    if not _lacks_sftp(by_sftp) or session.is_ended():
        raise _failed(session, "sftp", by_sftp)
    by_rsync = _run(session, _rsync(session, links, folder), "")
    if by_rsync is None:
        return
    if "not found" in by_rsync or "No such file" in by_rsync:
        raise DeviceError(
            f"device '{session.device.name}' has neither sftp nor rsync, by which files are sent",
            do="Turn on 'Subsystem sftp' in its sshd_config, or install rsync there and here.",
        )
    raise _failed(session, "rsync", by_rsync)


def _sftp_batch(links: Path, folder: str, parts: Mapping[str, int]) -> str:
    """The commands of sftp: what was begun is resumed.

    Args:
        links: a folder with the files under their hashes.
        folder: on the device.
        parts: how many bytes of each are there.
    """
    lines = [f'cd "{folder}"', f'lcd "{links}"']
    for path in sorted(links.iterdir()):
        verb = "reput" if parts[path.name.removesuffix(".part")] else "put"
        lines.append(f"{verb} {path.name} {path.name}")
    return "\n".join([*lines, "bye", ""])


def _lacks_sftp(errors: str) -> bool:
    """Whether the SSH server has no sftp, by what the client says of a connection that is there."""
    return errors.strip().endswith("Connection closed")


def has_sftp(session: DeviceSession) -> bool:
    """Whether the SSH server has sftp."""
    return _run(session, _sftp(session), "bye\n") is None


def _sftp(session: DeviceSession) -> list[str]:
    return ["sftp", *session.shared, "-b", "-", _TARGET]


def _rsync(session: DeviceSession, links: Path, folder: str) -> list[str]:
    shell = shlex.join(["ssh", *session.shared])
    copied = ["--copy-links", "--inplace", "--recursive", "--protect-args"]
    return ["rsync", *copied, "-e", shell, f"{links}/", f"{_TARGET}:{folder}/"]


def _run(session: DeviceSession, words: Sequence[str], text: str) -> str | None:
    """Run a program that copies; returns what it says where it fails."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as commands:
        commands.write(text.encode())
        commands.seek(0)
        try:
            process = _process(words, commands, output)
        except FileNotFoundError:
            return f"{words[0]}: not found here"
        try:
            session.wait(process, words[0])
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        output.seek(0)
        return None if process.returncode == 0 else output.read().decode(errors="replace")


def _process(
    words: Sequence[str], commands: IO[bytes], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(words), stdin=commands, stdout=output, stderr=output, start_new_session=True
    )


def _failed(session: DeviceSession, program: str, errors: str) -> DeviceError:
    if session.is_ended():
        return lost(session.device)
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return DeviceError(
        f"device '{session.device.name}': {program} cannot write the files there",
        got=(lines or ["no word of it"])[-1][:300],
        do="Free space there, or choose another device.folder.",
    )


@contextmanager
def _linked(files: Mapping[str, Path]) -> Iterator[Path]:
    """A folder with links to the files, under the names that they have on the device."""
    with temporary_folder(Path("/tmp")) as folder:  # no odd characters
        for sha, path in files.items():
            (folder / f"{sha}.part").symlink_to(path.absolute())
        yield folder
