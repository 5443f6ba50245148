"""The names of a model's classes from a text file, one in each line."""

from __future__ import annotations

from pathlib import Path

from deploy.recipe.schema import RecipeError

_MOST_BYTES = 16 << 20
_SUFFIX = ".txt"


def names_file(text: str) -> Path | None:
    """The file that ``model.classes`` names where it is one text; None where that is a class.

    A text that ends in ``.txt`` is a file, and so is one with another suffix if it exists.
    """
    path = Path(text).expanduser()
    is_file = text.endswith(_SUFFIX) or (path.suffix and path.is_file())
    return path if is_file else None


def read_class_names(file: Path) -> list[str]:
    """The names in a file in UTF-8; see ``names_of``.

    Raises:
        RecipeError: no such file, a large one, or one that is not UTF-8.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(
            f"model.classes={file}",
            expected="a text file with a class in each line",
            got=error.strerror or "one that cannot be read",
            do="Check the path, which is relative to the current folder; a class of such a name "
            "is written in brackets: model.classes=[NAME].",
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"model.classes={file}",
            expected="text in UTF-8",
            got="other bytes",
            do="Save the file as UTF-8.",
        ) from error
    if len(data) > _MOST_BYTES:
        raise RecipeError(
            f"model.classes={file}", expected=f"at most {_MOST_BYTES:,} bytes", got="more"
        )
    return names_of(text)


def names_of(text: str) -> list[str]:
    r"""Each line as it is, with the spaces in it; empty lines at the end are none.

    A dictionary of characters may hold what other readers take for the end of a line.

    Examples:
        >>> names_of("a\n \n\u2028\r\n")
        ['a', ' ', '\u2028']
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
