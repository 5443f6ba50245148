"""Files of a net, none of which is opened before it is known to be one."""

from __future__ import annotations

from pathlib import Path

from backends.contract import EngineError
from backends.files import file_fault
from backends.ncnn.checking.param import AGAIN


def check_file(path: Path) -> None:
    """Refuse what is no regular file.

    Raises:
        EngineError: a link, a folder, a FIFO, a device, or nothing.
    """
    if fault := file_fault(path.parent, path.name):
        raise EngineError(f"'{path.name}' {fault}", do=AGAIN)


def read(path: Path, most: int) -> str:
    """The text of a regular file of at most so many bytes.

    Raises:
        EngineError: no such file, a longer one, or one that is no text.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"'{path.name}' cannot be read: {error}", do=AGAIN) from error
    if len(data) > most:
        raise EngineError(f"'{path.name}'", expected=f"at most {most} bytes", got="more", do=AGAIN)
    return text
