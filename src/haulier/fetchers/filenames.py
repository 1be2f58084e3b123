"""File names out of hostile hands: from servers, from URLs, from metadata."""

from __future__ import annotations

import itertools
import re
import sys
import unicodedata
from typing import Final

from haulier._threads.log import Log

__all__ = [
    "MAX_NAME_BYTES", "PART_SUFFIX", "SIDECAR_SUFFIX", "last_component", "numbered",
    "safe_filename", "safe_path",
]  # fmt: skip

PART_SUFFIX: Final = ".part"
"""What a file is called until it is complete, after its name. No name that is made here ends with it."""

SIDECAR_SUFFIX: Final = ".json"
"""What follows ``PART_SUFFIX`` in the name of the file that says whose the part is."""

MAX_NAME_BYTES: Final = 255 - len(PART_SUFFIX + SIDECAR_SUFFIX)
"""Of UTF-8. Most file systems allow 255 bytes or 255 UTF-16 units in one name."""

_LONGEST_EXTENSION: Final = 24
"""Bytes: beyond it, what follows the last dot is prose ('Vol. 2 of the collected letters'), not an extension."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_EXTENSION = re.compile(r"(\.tar)?\.[^.\s]+$", re.IGNORECASE)
_JOINERS: Final = "\u200c\u200d"
"""ZWNJ and ZWJ. They have no width, but Persian and Indic words and many emoji are written with them."""

_log: Final = Log("haulier.fetchers.filenames")
_times_said: Final = itertools.count()


def safe_filename(name: str, *, quiet: bool = False) -> str:
    """``name`` as one that is safe on every common system, '' if nothing is left of it.

    The result has no separator, no control, bidirectional or other invisible character, none that Windows refuses, no
    leading dot, no trailing dot or space, is no device of Windows, does not end as a part or its sidecar does, and has
    at most ``MAX_NAME_BYTES`` bytes; the extension survives the cut. The joiners that some scripts and emoji need stay.

    What the file system's encoding cannot express is written as percent-escapes. That is logged once, unless ``quiet``.
    """
    if not (name.isascii() and name.isprintable()):  # else all of it is kept: most names need no look at each character
        kept = (" " if char.isspace() else char for char in name if char.isspace() or _visible(char))
        name = unicodedata.normalize("NFC", "".join(kept))
        if any(joiner in name for joiner in _JOINERS):
            name = unicodedata.normalize("NFC", _without_stray_joiners(name))
    name = _FORBIDDEN.sub("_", name)
    name = " ".join(name.split()).strip(". ")
    if not name.isascii():
        name = _expressed(name, quiet=quiet)
    if _RESERVED.fullmatch(name):
        name = "_" + name
    name = _cut(name, "")
    for suffix in (PART_SUFFIX, PART_SUFFIX + SIDECAR_SUFFIX):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)] + suffix.replace(".", "_", 1)
    return name


def safe_path(path: str, *, quiet: bool = False) -> str:
    """``path`` as a relative one with '/' between components that are each safe; '' if nothing is left of it."""
    return "/".join(filter(None, (safe_filename(each, quiet=quiet) for each in re.split(r"[/\\]", path))))


def _expressed(name: str, *, quiet: bool) -> str:
    """Escape each character that the encoding of the file system does not have: '%C3%BC' for 'ü'."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8" or _is_in(name, encoding):
        return name
    if not quiet and next(_times_said) == 0:
        _log.warning(
            "file names are encoded in %s here; other characters in them are written like %%C3%%BC. "
            "Set a UTF-8 locale, such as LC_ALL=C.UTF-8, to keep them",
            encoding,
        )
    return "".join(
        char if _is_in(char, encoding) else "".join(f"%{byte:02X}" for byte in char.encode()) for char in name
    )


def _is_in(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _visible(char: str) -> bool:
    # Format characters (Cf) hide, or turn 'gpj.exe' around on the screen; lone surrogates (Cs) cannot be encoded.
    return char in _JOINERS or unicodedata.category(char) not in ("Cc", "Cf", "Cs")


def _without_stray_joiners(name: str) -> str:
    """Keep a joiner only after a letter, mark or symbol that is not ASCII: elsewhere it has no visible effect."""
    kept = ""
    for char in name:
        last = kept[-1:] or " "
        if char not in _JOINERS or not (
            last.isascii() or last in _JOINERS or unicodedata.category(last)[0] not in "LMS"
        ):
            kept += char
    return kept


def numbered(name: str, number: int) -> str:
    """The ``number``th way to call the file: ``NAME.ext``, ``NAME (1).ext``, ``NAME (2).ext`` …, never too long."""
    return _cut(name, f" ({number})") if number else name


def last_component(path: str) -> str:
    """What follows the last slash or backslash: a server may name a file, not choose its folder."""
    return re.split(r"[/\\]", path)[-1]


def _cut(name: str, ending: str) -> str:
    """``name`` with ``ending`` before its extension, its stem shortened until all fits."""
    match = _EXTENSION.search(name, 1)
    extension = match[0] if match and len(match[0].encode()) <= _LONGEST_EXTENSION else ""
    room = MAX_NAME_BYTES - len((ending + extension).encode())
    stem = name.removesuffix(extension)
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode(errors="ignore").rstrip(". ")
    return stem + ending + extension
