"""An OpenSSH server of a test: on the loopback, with keys, configuration and a home of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SERVER = "/usr/sbin/sshd"
_PRIVILEGES = Path("/run/sshd")  # where a server of root wants an empty folder
_SERVER_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
LogLevel VERBOSE
SetEnv HOME={home} PATH={path} LC_ALL=C.UTF-8
{more}
"""
_CLIENT_CONFIG = """\
Host *
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
    UpdateHostKeys no
"""


class SshServer:
    """A server that runs while the test does.

    Args:
        folder: for its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        for name in ("host_key", "key"):
            new_key(folder / name)
        shutil.copyfile(folder / "key.pub", folder / "authorized_keys")
        self.know(folder / "host_key.pub")
        self._write("ssh_config", _CLIENT_CONFIG, user=user_name())
        self.start()

    @property
    def options(self) -> list[str]:
        """Options of ssh, by which it finds the server."""
        return ["-F", str(self.folder / "ssh_config")]

    def know(self, key: Path) -> None:
        """Write the file of known hosts anew, with one key."""
        kind, data = key.read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {data}\n")

    def cut(self) -> int:
        """Kill the processes of all connections, as where a network is gone; returns how many."""
        pids = children(self._process.pid)
        for pid in pids:
            for grandchild in children(pid):
                if "sshd" in command_of(grandchild):
                    end(grandchild)
            end(pid)
        return len(pids)

    def start(self, sftp: bool = True, path: Path | None = None) -> None:
        """Start the server.

        Args:
            sftp: whether it has the subsystem.
            path: where commands are found there; by default where they are here.
        """
        more = "Subsystem sftp internal-sftp" if sftp else ""
        where = path or os.environ["PATH"]
        self._write("sshd_config", _SERVER_CONFIG, home=self.home, path=where, more=more)
        self._process = self._start()

    def stop(self) -> None:
        """End the server and all connections."""
        self._process.terminate()
        self._process.wait()
        self.cut()

    def _write(self, name: str, text: str, **values: object) -> None:
        filled = text.format(folder=self.folder, port=self.port, **values)
        (self.folder / name).write_text(filled)

    def _start(self) -> subprocess.Popen[bytes]:
        if os.geteuid() == 0:
            _PRIVILEGES.mkdir(mode=0o755, exist_ok=True)
        words = [SERVER, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return process
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())


def new_key(path: Path) -> None:
    """Make a pair of keys without a passphrase."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def user_name() -> str:
    """Who runs the test."""
    return subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()


def children(pid: int) -> Sequence[int]:
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def command_of(pid: int) -> str:
    """The command line of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def end(pid: int) -> None:
    """Kill a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
