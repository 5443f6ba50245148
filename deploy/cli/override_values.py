"""The values in Hydra's overrides and in configuration: what stands in them, key by key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
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


def override_leaves(words: Sequence[str], chosen: Callable[[str], bool]) -> list[str]:
    """The values that overrides give to the chosen keys, as texts.

    There are none where one of the words is not legal, which Hydra then says.

    Args:
        words: Hydra's overrides.
        chosen: whether a key, or a group, is wanted.
    """
    with suppress(HydraException):
        overrides = OverridesParser.create().parse_overrides(list(words))
        values = [item.value() for item in overrides if chosen(item.key_or_group)]
        found = [leaf for value in values for _, leaf in leaves(_plain(value), "")]
        return [str(leaf) for leaf in found if leaf is not None]
    return []


def _plain(value: Any) -> Any:
    """An override's value without the classes of Hydra's grammar."""
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.text if isinstance(value, QuotedString) else value
