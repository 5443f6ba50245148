"""Words of the command line that Hydra's grammar refuses, or reads as something else than a text.

A value is taken as it was typed where that can be meant in one way only: brackets, equals signs,
colons and letters of other alphabets in names and paths, numbers and booleans as names of tensors.
Everything else is one error that shows the word in quotes.
"""

from __future__ import annotations

import re
import shlex
import types
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Union, cast, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from deploy.cli.catalog import GROUPS
from deploy.cli.word_values import Scalar, UnbalancedError, scalars
from deploy.recipe.schema import RecipeError
from deploy.recipe.texts import kind_at

_SWEEP_WORDS = ("-m", "--multirun", "hydra.mode=MULTIRUN")
_FLAGS = (*_SWEEP_WORDS, "--hydra-help", "--resolve", "-r", "--run", "--version")
_SPECIAL = re.compile(r"([\\()\[\]{}:=, \t])")  # what a key of a mapping has to escape
_ESCAPED = re.compile(r"\\(.)")
_FUNCTION = re.compile(r"[a-z]+\(")  # of Hydra, such as choice(a,b)
_OFTEN_NULL = (["model", "pre"], ["model", "text"])  # in the files of most models
_CHOICES = {"precision", "build"}  # texts with a fixed set of values


def legal_words(words: Sequence[str]) -> list[str]:
    """The words as Hydra's grammar takes them, with the values that were typed.

    Args:
        words: of the command line, with options of Hydra.

    Raises:
        RecipeError: a word that can be meant in several ways, or in none.

    Examples:
        >>> legal_words(["model.file=a=b.onnx", "partition.cuts=[467,on]"])
        ["model.file='a=b.onnx'", "partition.cuts=['467',on]"]
    """
    is_sweep = any(word in _SWEEP_WORDS for word in words)
    return [
        word if _is_of_option(words, number) else _legal(word, is_sweep)
        for number, word in enumerate(words)
    ]


def _is_of_option(words: Sequence[str], number: int) -> bool:
    """Whether a word is an option of Hydra, or the value of one."""
    before = words[number - 1] if number else ""
    is_value = before.startswith("-") and before not in _FLAGS and "=" not in before
    return words[number].startswith("-") or is_value


def _legal(word: str, is_sweep: bool) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        if word.startswith("~"):
            return word
        raise RecipeError(
            f"'{word}'",
            expected="key=value",
            got="a word without '='",
            do="A value with spaces stands in quotes: 'model.file=my model.onnx'.",
        )
    path, parsed = _path(key), _parse(word)
    if path is not None and key[0] not in "+~" and _is_of_users_mapping(path):
        return _legal(f"++{word}", is_sweep)  # Hydra would take known keys alone
    if path is None or (parsed is not None and _FUNCTION.match(value)):
        return word
    try:
        typed = scalars(value)
    except UnbalancedError:
        return _whole(word, key, value, path, parsed)
    if parsed is None or _has_other_texts(typed, path):
        return _rewritten(word, key, value, path, typed, is_sweep)
    return _one_list(word, key, value, path, typed, is_sweep)


def _path(key: str) -> list[str] | None:
    """The keys of a recipe that a word sets; None of words that are no matter of ours."""
    bare = key.lstrip("+~")
    first = bare.partition(".")[0]
    is_other = "@" in bare or "/" in bare or first in ("hydra", "code") or key.startswith("~")
    return None if is_other or bare in GROUPS else bare.split(".")


def _rewritten(
    word: str, key: str, value: str, path: list[str], typed: Sequence[Scalar], is_sweep: bool
) -> str:
    """The word with every scalar in quotes that needs them."""
    is_text = not value.startswith(("[", "{")) and _is_free_text(path)
    if is_text and not is_sweep and not value.startswith(("'", '"')):
        return f"{key}={_in_quotes(value)}"
    for scalar in reversed(typed):
        end = scalar.start + len(scalar.text)
        value = f"{value[: scalar.start]}{_legal_scalar(scalar, path)}{value[end:]}"
    rewritten = _one_list(f"{key}={value}", key, value, path, typed, is_sweep)
    if _parse(rewritten) is None:
        raise _illegal(word, key)
    return rewritten


def _whole(word: str, key: str, value: str, path: list[str], parsed: Override | None) -> str:
    """A word whose brackets or quotes do not match."""
    if parsed is not None:
        return word
    if _is_free_text(path) and not value.startswith(("[", "{")):
        return f"{key}={_in_quotes(value)}"
    raise _illegal(word, key, got="brackets or quotes that do not match")


def _one_list(
    word: str, key: str, value: str, path: list[str], typed: Sequence[Scalar], is_sweep: bool
) -> str:
    """``cuts=a,b`` is ``cuts=[a,b]``, where it is no sweep."""
    outer = [scalar for scalar in typed if not scalar.path]
    if is_sweep or len(typed) < 2 or len(outer) < len(typed):
        return word
    if _is_text(kind_at([*path, "*"])):
        return f"{key}=[{value}]"
    return f"{key}={_in_quotes(value)}" if _is_free_text(path) else word


def _has_other_texts(typed: Sequence[Scalar], path: list[str]) -> bool:
    return any(
        scalar.text and not scalar.quoted and _legal_scalar(scalar, path) != scalar.text
        for scalar in typed
    )


def _legal_scalar(scalar: Scalar, path: list[str]) -> str:
    if scalar.quoted or not scalar.text or "${" in scalar.text:
        return scalar.text
    if scalar.is_key:
        return _legal_key(scalar, [*path, *scalar.path])
    parsed = _parse(f"k=[{scalar.text}]")
    if parsed is None:
        return _in_quotes(scalar.text)
    value = cast(list[Any], parsed.value())[0]
    is_kept = isinstance(value, str) or (value is None and "*" not in scalar.path)
    if is_kept or not _is_text(kind_at([*path, *scalar.path])):
        return scalar.text
    return _in_quotes(scalar.text)


def _legal_key(scalar: Scalar, path: list[str]) -> str:
    """A key of a mapping. It cannot stand in quotes; whole numbers become texts afterwards."""
    bare = _ESCAPED.sub(r"\1", scalar.text)
    parsed = _parse(f"k={{{scalar.text}: 1}}")
    key = bare if parsed is None else next(iter(parsed.value()))  # type: ignore[arg-type]
    if parsed is None or (isinstance(key, str) and key != bare):  # a colon has ended it too early
        return _SPECIAL.sub(r"\\\1", bare)
    is_number = isinstance(key, int) and not isinstance(key, bool) and str(key) == bare
    if not (isinstance(key, str) or is_number) and _names_keys(path):
        raise RecipeError(
            f"key {bare} of {'.'.join(path)}",
            expected="a text",
            got=f"what Hydra reads as {key!r}, for which its command line has no quotes",
            do=f"Write it into a file of a --config-dir, in quotes: {{'{bare}': ...}}.",
        )
    return scalar.text


def _is_of_users_mapping(path: list[str]) -> bool:
    """Whether a key is one that the configuration may not have yet, such as that of an input."""
    kinds = [kind_at(path[:count]) for count in range(1, len(path))]
    is_mapping = any(get_origin(kind) is dict for kind in kinds)
    is_of_device = path[0] == "device" and len(path) > 1
    is_often_null = is_mapping or path[:2] in _OFTEN_NULL
    return is_of_device or (path[0] in ("model", "verify") and is_often_null)


def _names_keys(path: list[str]) -> bool:
    return kind_at(path) is not Any and kind_at(path) is not None


def _is_text(kind: Any) -> bool:
    """Whether texts are wanted, such as ``str`` or ``str | list[str]``."""
    is_union = get_origin(kind) in (Union, types.UnionType)
    return kind is str or (is_union and str in get_args(kind))


def _is_free_text(path: list[str]) -> bool:
    """Whether a key takes any text, such as a path or a name."""
    return kind_at(path) is str and path[-1] not in _CHOICES


def _in_quotes(text: str) -> str:
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _parse(word: str) -> Override | None:
    with suppress(HydraException):
        return OverridesParser.create().parse_override(word)
    return None


def _illegal(word: str, key: str, got: str = "") -> RecipeError:
    return RecipeError(
        f"'{word}' is no legal word",
        expected="key=text, key=[a, b] or key={name: value}, with quotes around texts of other "
        "characters than letters, digits and ./-_",
        got=got,
        do=f"Quote the texts in it, and the whole for the shell, such as "
        f"{shlex.quote(f'{key}=' + _example(key))}.",
    )


def _example(key: str) -> str:
    kind = kind_at(key.lstrip("+~").split("."))
    examples = {dict: "{name: 'a=b'}", list: "['a=b', '[c]']"}
    return examples.get(get_origin(kind) or str, "'a=b'")
