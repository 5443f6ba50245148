"""The values in Hydra's overrides and in configuration: what stands in them, key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

_MOST_VALUES = 100_000


def leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping or list, with its keys; and every empty one.

    Raises:
        ValueError: there are too many, as where aliases repeat each other.
    """
    count = 0
    pending = [(key, value)]
    while pending:
        name, item = pending.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values")
        if isinstance(item, Mapping) and item:
            prefix = f"{name}." if name else ""
            pending += [(f"{prefix}{part}", inner) for part, inner in item.items()]
        elif isinstance(item, list) and item:
            pending += [(name, inner) for inner in item]
        else:
            yield name, item


def override_leaves(words: Sequence[str], chosen: Callable[[str], bool]) -> list[tuple[str, str]]:
    r"""The values that overrides give to the chosen keys, as texts, each with its own key.

    A word that is not legal has none; Hydra itself says what is wrong with it.

    Args:
        words: Hydra's overrides, as they were typed or as a sweep escapes them for its jobs.
        chosen: whether a key, or a group, is wanted.

    Examples:
        >>> override_leaves(["model.target=nets\\:net"], lambda key: True)
        [('model.target', 'nets:net')]
    """
    return [
        (key, str(leaf))
        for override in map(_parsed, words)
        if override is not None and chosen(override.key_or_group)
        for key, leaf in leaves(_plain(override.value()), override.key_or_group)
        if leaf is not None
    ]


def readable_word(word: str) -> str:
    r"""An override of a sweep's job without the escapes that it has no need of.

    Examples:
        >>> readable_word("model.target=nets\\:net")
        'model.target=nets:net'
    """
    bare = re.sub(r"\\(.)", r"\1", word)
    return bare if bare != word and _same_override(bare, word) else word


def _same_override(first: str, second: str) -> bool:
    one, other = _parsed(first), _parsed(second)
    if one is None or other is None or one.is_sweep_override():
        return False
    same_key = one.get_key_element() == other.get_key_element()
    return bool(same_key and _plain(one.value()) == _plain(other.value()))


def _parsed(word: str) -> Override | None:
    """One word, so that an illegal one does not hide what the others say."""
    with suppress(HydraException):
        return OverridesParser.create().parse_override(word)
    return None


def _plain(value: Any) -> Any:
    """An override's value without the classes of Hydra's grammar."""
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.text if isinstance(value, QuotedString) else value
