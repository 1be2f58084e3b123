"""What to download: URLs from the arguments, from files and from standard input, checked before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from haulier.cli.arguments import UsageError
from haulier.errors import PermanentError
from haulier.fetchers.filenames import safe_filename
from haulier.fetchers.urls import Target, redacted

__all__ = ["Wanted", "read_wanted"]

_MOST_COMPLAINTS: Final = 10
_PORTS: Final = {"http": 80, "https": 443}


class Wanted(NamedTuple):
    """One file to download."""

    source: str
    """The host, with its port where that is not the usual one."""
    url: str
    shown: str
    """The URL without its secrets."""
    name: str
    """What the live table calls it."""


def read_wanted(arguments: Iterable[str], files: Iterable[str]) -> list[Wanted]:
    """Everything that is wanted, in order. Raises ``UsageError`` that says what is wrong, for each bad URL where."""
    wanted: list[Wanted] = []
    wrong: list[str] = []
    for where, url in _urls(arguments, files):
        try:
            wanted.append(_wanted(url))
        except PermanentError as error:
            wrong.append(f"{where}{error}")
    if wrong:
        more = len(wrong) - _MOST_COMPLAINTS
        shown = [*wrong[:_MOST_COMPLAINTS], *([f"… and {more} more"] if more > 0 else [])]
        raise UsageError("\n  ".join(["nothing was downloaded:", *shown]) if len(wrong) > 1 else wrong[0])
    if not wanted:
        raise UsageError("no URL: name one, or a file of them (-i FILE), or '-' for standard input")
    return wanted


def _urls(arguments: Iterable[str], files: Iterable[str]) -> Iterator[tuple[str, str]]:
    for argument in arguments:
        if argument == "-":
            yield from _lines("-")
        else:
            yield "", argument
    for file in files:
        yield from _lines(file)


def _lines(file: str) -> Iterator[tuple[str, str]]:
    """Each line that is no comment, and where it is."""
    name = "standard input" if file == "-" else file
    try:
        if file != "-":
            raw = Path(file).read_bytes()
        else:
            # Line by line, in Python: one long read would not notice a Ctrl-C that comes while it copies.
            raw = b"".join([line for line in sys.stdin.buffer]) if sys.stdin is not None else b""  # noqa: C416
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {name}: {(error.strerror or type(error).__name__).lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {name}: it is not text in UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        url = line.strip()
        if url and not url.startswith("#"):
            yield f"{name}, line {number}: ", url


def _wanted(url: str) -> Wanted:
    target = Target.parse(url)
    place = target.host if target.port == _PORTS[target.scheme] else f"{target.host}:{target.port}"
    shown = redacted(url.strip())
    segment = unquote(urlsplit(shown).path.rpartition("/")[2], errors="replace")
    return Wanted(place, url.strip(), shown, safe_filename(segment) or place)
