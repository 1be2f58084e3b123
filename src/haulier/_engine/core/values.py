"""Copies of the values in a record, so that a record owns what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["are_plain", "own"]

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""Types whose values never change. Nearly all values in records are of these."""


def are_plain(values: Iterable[Any]) -> bool:
    """Whether all values are of types that never change, so that nothing needs to be copied."""
    return _PLAIN.issuperset(map(type, values))


def own(record: Mapping[Any, Any]) -> dict[Any, Any]:
    """Copy a mapping and the built-in containers in it, however deep. All other objects are shared.

    What a caller later changes in a list that it gave, or got, then changes no record.
    """
    if are_plain(record.values()):
        return dict(record)
    copies: dict[int, Any] = {}
    return {key: _copy(value, copies) for key, value in record.items()}


def _copy(value: Any, copies: dict[int, Any]) -> Any:
    """Copy one value. ``copies``: by the id of its original; a container may contain itself."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if id(value) in copies:
        return copies[id(value)]
    if kind is list:
        copy = copies[id(value)] = []
        copy += [_copy(each, copies) for each in value]
        return copy
    if kind is dict:
        mapping = copies[id(value)] = {}
        mapping.update({key: _copy(each, copies) for key, each in value.items()})
        return mapping
    if kind is tuple:
        return tuple(_copy(each, copies) for each in value)
    if kind is set or kind is bytearray:
        return kind(value)
    return value
