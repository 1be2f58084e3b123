"""Copies of the values in a record, so that a record owns what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["MOST_LEVELS", "are_plain", "own"]

MOST_LEVELS: Final = 100
"""How deep lists and dicts in a record may be nested. More would exceed the stack of a reader."""

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""Types whose values never change. Nearly all values in records are of these."""


def are_plain(values: Iterable[Any]) -> bool:
    """Whether all values are of types that never change, so that nothing needs to be copied."""
    return _PLAIN.issuperset(map(type, values))


def own(record: Mapping[Any, Any]) -> dict[Any, Any]:
    """Copy a mapping and the built-in containers in it, however deep. All other objects are shared.

    What a caller later changes in a list that it gave, or got, then changes no record. Raises ValueError, naming the
    key, for more than ``MOST_LEVELS`` levels.
    """
    if are_plain(record.values()):
        return dict(record)
    copies: dict[int, Any] = {}
    return {key: _copy(key, value, copies, 1) for key, value in dict(record).items()}


def _copy(key: Any, value: Any, copies: dict[int, Any], depth: int) -> Any:
    """Copy one value of ``key``. ``copies``: by the id of its original; a container may contain itself."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if id(value) in copies:
        return copies[id(value)]
    if depth > MOST_LEVELS:
        raise ValueError(f"the value of {key!r} has lists or dicts in one another on more than {MOST_LEVELS} levels")
    if kind is list:
        copy = copies[id(value)] = []
        copy += [_copy(key, each, copies, depth + 1) for each in value.copy()]
        return copy
    if kind is dict:
        mapping = copies[id(value)] = {}
        mapping.update({name: _copy(key, each, copies, depth + 1) for name, each in value.copy().items()})
        return mapping
    if kind is tuple:
        copies[id(value)] = fixed = tuple(_copy(key, each, copies, depth + 1) for each in value)
        return fixed
    if kind is set or kind is bytearray:
        return kind(value)
    return value
