"""Text files that a user wrote: UTF-8, with or without the byte order mark that Windows editors put before it."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Final, TextIO

__all__ = ["open_text", "read_text", "text_of"]

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),  # before UTF-16, whose mark begins like it
    (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
)  # fmt: skip
_START_BYTES: Final = 64


def text_of(raw: bytes) -> str:
    """Decode the contents of a file, without a byte order mark.

    Raises ``ValueError`` if it is not text in UTF-8. The message begins with 'it is' and names UTF-16.
    """
    other = _other_encoding(raw)
    if other is None:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    raise _not_utf8(other)


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a file, as ``text_of`` does. Raises ``OSError`` if it cannot be read."""
    return text_of(Path(path).read_bytes())


def open_text(path: str | os.PathLike[str]) -> TextIO:
    """Open a file that is too large to be read at once. Bytes that are not UTF-8 raise ``ValueError`` when read.

    Raises ``OSError`` if the file cannot be opened, and ``ValueError`` if it begins as UTF-16 does.
    """
    file = open(path, encoding="utf-8-sig")  # noqa: SIM115  the caller closes it
    try:
        other = _other_encoding(file.buffer.peek(_START_BYTES)[:_START_BYTES])  # type: ignore[attr-defined]
        if other is not None:
            raise _not_utf8(other)
    except BaseException:
        file.close()
        raise
    return file


def _other_encoding(raw: bytes) -> str | None:
    """The encoding that ``raw`` begins to be in; None if it may be UTF-8."""
    for mark, name in _MARKS:
        if raw.startswith(mark) and _is_text_in(raw, name):
            return name
    if len(raw) >= 2 and (raw[0] == 0) != (raw[1] == 0) and _is_text_in(raw, "UTF-16"):
        return "UTF-16"
    return None


def _is_text_in(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(other: str | None) -> ValueError:
    if other is None:
        return ValueError("it is not text in UTF-8")
    return ValueError(f"it is text in {other}; save it in UTF-8")
