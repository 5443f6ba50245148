"""One run in a forked process that ends, or finds no room, at the n-th time that it writes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from backends.contract import DeployError

How = Literal["kill", "full"]
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_MAKES = {"open", "os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate"}
_REMOVES = {"os.remove", "os.rmdir"}


def strike(act: Callable[[Path], object], folder: Path, number: int, how: How) -> str:
    """Do something in a folder, and be struck at the ``number``-th write; 0 is never.

    Returns:
        ``killed``, ``refused``; ``went on`` where it was struck and succeeded all the same; and
        ``unstruck`` where it does not write so often.

    Raises:
        AssertionError: it ended in any other way.
    """
    log = folder.with_name(f"{folder.name}.log")
    process = os.fork()
    if not process:
        _child(act, folder, number, how, log)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"signal {os.WTERMSIG(status)}"
        return "killed"
    endings = {0: "unstruck", 1: "refused", 2: "went on"}
    assert os.WEXITSTATUS(status) in endings, log.read_text()
    return endings[os.WEXITSTATUS(status)]


def _child(act: Callable[[Path], object], folder: Path, number: int, how: How, log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code, striker = 3, _Striker(folder, number, how)
    try:
        sys.addaudithook(striker)
        act(folder)
        code = 2 if striker.struck else 0
    except (DeployError, OSError) as error:
        os.write(2, f"refused: {error}\n".encode())
        code = 1
    except BaseException:  # noqa: BLE001 - the parent tells of it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


class _Striker:
    """Counts what is written under a folder, and strikes."""

    def __init__(self, folder: Path, number: int, how: How) -> None:
        self._folder, self._left, self._how = f"{folder}{os.sep}", number, how
        self.struck = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._left and self._counts(event, arguments):
            self._left -= 1
            if not self._left:
                self._strike()

    def _counts(self, event: str, arguments: tuple[object, ...]) -> bool:
        removes = event in _REMOVES and self._how == "kill"  # a full disk lets go of files
        if not (event in _MAKES or removes):
            return False
        if event == "open":
            flags = arguments[2]
            if not (isinstance(flags, int) and flags & _WRITES):
                return False
        path = arguments[0]
        return isinstance(path, str | os.PathLike) and str(path).startswith(self._folder)

    def _strike(self) -> None:
        self.struck = True
        if self._how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "No space left on device (injected)")
