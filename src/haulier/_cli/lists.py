"""Lists of what to download: a URL a line, and what is special about it behind it.

::

    # comments and blank lines are skipped
    https://example.org/a.iso
    https://example.org/b.iso  name=other.iso checksum=sha256:9f86d0…
    https://example.org/c.iso  name="with spaces.iso" source=slow
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple

from haulier._cli.arguments import UsageError
from haulier.fetchers.urls import redacted

__all__ = ["Line", "lines_of"]

_OPTIONS: Final = ("name", "checksum", "source", "with")


class Line(NamedTuple):
    """``where`` it was, for complaints; the URL, and its options."""

    where: str
    url: str
    options: Mapping[str, str]
    wrong: str | None
    """What is wrong with the options; they are empty then."""


def lines_of(file: str) -> Iterator[Line]:
    """Each line of a file ('-': of standard input) that is no comment.

    Raises ``UsageError`` where it cannot be read.
    """
    name = "standard input" if file == "-" else file
    for number, line in enumerate(_text_of(file, name).split("\n"), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield _line(f"{name}, line {number}: ", text)


def _line(where: str, text: str) -> Line:
    url, *rest = text.split(None, 1)
    if not rest:
        return Line(where, url, {}, None)
    options: dict[str, str] = {}
    try:
        words = shlex.split(rest[0], comments=True)
    except ValueError:
        return Line(where, url, {}, "a quotation mark is missing")
    for word in words:
        key, equals, value = word.partition("=")
        if "://" in key:
            return Line(where, url, {}, "two URLs in one line: write one a line")
        if not equals or key not in _OPTIONS:
            near = get_close_matches(key, _OPTIONS, 1, 0.5)
            hint = f"did you mean {near[0]}=…?" if near else f"there are {', '.join(_OPTIONS)}"
            return Line(where, url, {}, f"no option {redacted(key)!r}: {hint}")
        options[key] = value
    return Line(where, url, options, None)


def _text_of(file: str, name: str) -> str:
    try:
        if file != "-":
            raw = Path(file).read_bytes()
        else:
            # Line by line, in Python: one long read would not notice a Ctrl-C that comes while it copies.
            raw = b"".join([line for line in sys.stdin.buffer]) if sys.stdin is not None else b""  # noqa: C416
        return raw.decode("utf-8-sig")
    except OSError as error:
        if "://" in file:
            raise UsageError("-i takes a file with URLs in it; a URL is given without it") from None
        raise UsageError(f"cannot read {name}: {(error.strerror or type(error).__name__).lower()}") from None
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise UsageError(f"cannot read {name}: it is not text in UTF-8") from None
        raise UsageError("cannot read a file with such a name") from None
