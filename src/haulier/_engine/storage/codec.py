"""Encode values as strict JSON text: a value that would not be read back with the same types is refused.

The text is ASCII, so that any database accepts a NUL or half a surrogate pair (from a file name that is not UTF-8).
Names are stored as plain text, which ``escape`` makes acceptable to any database.
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
"""The deepest nesting of lists and dicts. ``json`` fails at a depth that depends on the caller's stack."""

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

_PLAIN: Final = frozenset({int, bool, type(None)})
_SPLIT_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two surrogates, which are two characters in Python, but which JSON reads back as one."""


def encode(key: str, value: object) -> str:
    """Return ``value`` as JSON text.

    Allowed are ``str``, ``int``, ``bool``, finite ``float``, None, and lists and ``str``-keyed dicts of these.
    Subclasses are refused, because they would not be read back as such. Raises ``TypeError`` for anything else, naming
    ``key`` and the place within its value.
    """
    _check((key,), value, ())
    try:
        return _dumps(value)
    except ValueError as error:  # sys.get_int_max_str_digits()
        raise TypeError(f"{key}: cannot be stored: {error}; pass such an int as a str") from None


def encode_text(key: str, text: object) -> str:
    """Return ``text`` as JSON text, like ``encode``, but five times as fast for an ASCII str."""
    return _quote(text) if type(text) is str and text.isascii() else encode(key, text)


def decode(text: str) -> Any:
    """Return the value that ``encode`` was given. Raises ``StoreUnavailable`` if ``text`` is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreUnavailable(f"the database is damaged: a value in it is not JSON: {error}") from error


def _check(path: tuple[object, ...], value: object, within: tuple[int, ...]) -> None:
    """Raise ``TypeError`` if ``value`` would be read back changed. ``within``: the ids of the containers around it."""
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
    return TypeError(f"{key}{shown}: cannot be stored: {what}; pass {instead}")


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

# PostgreSQL cannot store a NUL in a text, and neither database half a surrogate pair. Each such character is written as
# a substitute character (U+001A, which no name should contain) and four hex digits; so is U+001A itself.
_UNFIT: Final = re.compile("[\0\x1a\ud800-\udfff]")
_ESCAPED: Final = re.compile("\x1a([0-9a-f]{4})")


LONGEST: Final = 1000
"""The most bytes of a source's name, or of an id. PostgreSQL allows 2,700 for a row of the index on both."""


def check_name(what: str, text: str) -> None:
    """Raise ``ValueError`` if ``text`` is longer than ``LONGEST`` bytes. ``what`` says which name it is."""
    if 5 * len(text) > LONGEST and len(escape(text).encode()) > LONGEST:
        raise ValueError(f"{what} must not be longer than {LONGEST} bytes in a durable store: {text[:20]!r}…")


def escape(text: str) -> str:
    """Return ``text`` with those characters escaped that a database cannot store."""
    if text.isprintable():  # the fastest test, and nearly always true
        return text
    return _UNFIT.sub(lambda unfit: f"\x1a{ord(unfit[0]):04x}", text)


def unescape(text: str) -> str:
    """Return the text that ``escape`` was given."""
    return _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), text) if "\x1a" in text else text
