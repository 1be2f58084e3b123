"""Values as JSON text, strictly: what is read back is exactly what was written, type by type, or it is not written.

The text is ASCII, so that a text with a NUL or half a surrogate pair in it (a file's name that is not UTF-8) passes
through any database. Names that are written as they are, ``escape`` makes fit for that.
"""

from __future__ import annotations

import json
import re
from datetime import date
from json.encoder import encode_basestring_ascii as _quote
from math import isfinite
from os import PathLike
from typing import Any, Final

from haulier.errors import StoreUnavailable

__all__ = ["check_name", "decode", "encode", "encode_text", "escape", "unescape"]

DEEPEST: Final = 100
"""Lists and dicts within one another. The C code of ``json`` gives up at a depth that depends on who calls it."""

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

_PLAIN: Final = frozenset({int, bool, type(None)})
_SPLIT_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two characters in Python that JSON reads back as one."""


def encode(key: str, value: object) -> str:
    """``value`` as JSON text.

    Raises ``TypeError``, naming ``key`` and the place within it, for anything but ``str``, ``int``, ``bool``, finite
    ``float``, None, and lists and ``str``-keyed dicts of these. Their subclasses would not come back as what they are.
    """
    _check((key,), value, ())
    try:
        return _dumps(value)
    except ValueError as error:  # sys.get_int_max_str_digits()
        raise TypeError(f"{key}: cannot be stored: {error}; give such an int as a str") from None


def encode_text(key: str, text: object) -> str:
    """The same, five times as fast for what it mostly is."""
    return _quote(text) if type(text) is str and text.isascii() else encode(key, text)


def decode(text: str) -> Any:
    """What ``encode`` was given. Raises ``StoreUnavailable`` for a text that is not of it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreUnavailable(f"the database is damaged: a value in it is no JSON: {error}") from error


def _check(path: tuple[object, ...], value: object, within: tuple[int, ...]) -> None:
    """Raise ``TypeError`` for what does not come back as it is. ``within``: the ids of what ``value`` is in."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if isinstance(value, str) and kind is str:
        if not value.isascii() and _SPLIT_PAIR.search(value):
            raise _refused(path, "a surrogate pair as two characters", "the character itself")
        return
    if isinstance(value, float) and kind is float:
        if not isfinite(value):
            raise _refused(path, repr(value), "None")
        return
    if kind is not dict and kind is not list:
        raise _refused(path, _name(kind), _advice(value))
    if id(value) in within or len(within) == DEEPEST:
        raise _refused(path, f"more than {DEEPEST} lists and dicts within one another", "fewer")
    within = (*within, id(value))
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise _refused(path, f"the key {key!r} ({_name(type(key))})", "a str")
            if not key.isascii():
                _check((*path, key), key, within)
            if type(item) not in _PLAIN:
                _check((*path, key), item, within)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            if type(item) not in _PLAIN:
                _check((*path, i), item, within)


def _refused(path: tuple[object, ...], what: str, instead: str) -> TypeError:
    key, *places = path
    shown = "".join(f"[{place!r}]" for place in places[:5]) + ("[…]" if len(places) > 5 else "")
    return TypeError(f"{key}{shown}: cannot be stored: {what}; give {instead}")


def _name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _advice(value: object) -> str:
    for base in (str, int, float, list, dict):
        if isinstance(value, base):
            return f"a plain {base.__name__}"
    match value:
        case tuple() | set() | frozenset():
            return "a list"
        case bytes() | bytearray() | memoryview():
            return "a str, such as base64 text, or the path of a file"
        case PathLike():
            return "str(path)"
        case date():
            return "its isoformat(), or seconds"
        case _:
            return "a str, int, float, bool, None, or a list or dict of these"


# ---- names -----------------------------------------------------------------------------------------------------------

# PostgreSQL has no NUL in a text, and neither database half a surrogate pair. A substitute character (U+001A, which no
# name has) and four digits stand for them, and for itself.
_UNFIT: Final = re.compile("[\0\x1a\ud800-\udfff]")
_ESCAPED: Final = re.compile("\x1a([0-9a-f]{4})")


LONGEST: Final = 1000
"""Bytes of the name of a source, or of an id. PostgreSQL has an index of both, and takes 2,700 for a row of it."""


def check_name(what: str, text: str) -> None:
    """Raise ``ValueError`` for a name that is too long: not all could be written of what is written with it."""
    if 5 * len(text) > LONGEST and len(escape(text).encode()) > LONGEST:
        raise ValueError(f"{what} must not be longer than {LONGEST} bytes where it is stored: {text[:20]!r}…")


def escape(text: str) -> str:
    """``text`` as every database takes it: itself, but for characters that no name should have."""
    if text.isprintable():  # the quickest of all looks, and nearly always enough
        return text
    return _UNFIT.sub(lambda unfit: f"\x1a{ord(unfit[0]):04x}", text)


def unescape(text: str) -> str:
    """What ``escape`` was given."""
    return _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), text) if "\x1a" in text else text
