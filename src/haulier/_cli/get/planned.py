"""Read what to download: URLs from the arguments and from lists, checked before any download starts."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from haulier._cli.arguments import UsageError
from haulier._cli.get.chooser import Medium, checked_fetcher, medium_of
from haulier._cli.get.places import Place
from haulier.errors import PermanentError
from haulier.fetchers.checksums import Checksum
from haulier.fetchers.filenames import numbered, safe_filename, safe_path
from haulier.fetchers.origin import key_of
from haulier.fetchers.request import Request
from haulier.fetchers.sums import Sums
from haulier.fetchers.texts import text_of
from haulier.fetchers.urls import Target, redacted

__all__ = ["Line", "PlannedDownload", "lines_of", "read_downloads"]


_OPTIONS: Final = ("name", "checksum", "source", "with")


class Line(NamedTuple):
    """A URL with its options. ``where`` is the place of the line in its file, for error messages."""

    where: str
    url: str
    options: Mapping[str, str]
    wrong: str | None
    """What is wrong with the options, or None. If it is set, ``options`` is empty."""


def lines_of(file: str) -> Iterator[Line]:
    """Yield each line of ``file`` that is not a comment. '-' is standard input.

    Raises ``UsageError`` if the file cannot be read.
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
            return Line(where, url, {}, "two URLs in one line; write one URL per line")
        if not equals or key not in _OPTIONS:
            return Line(where, url, {}, _unknown_option(key, is_bare=not equals))
        options[key] = value
    return Line(where, url, options, None)


def _unknown_option(key: str, *, is_bare: bool) -> str:
    near = get_close_matches(key, _OPTIONS, 1, 0.5)
    if near:
        hint = f"did you mean {near[0]}=…?"
    elif is_bare:
        hint = f"if it is a part of the URL, write the blank before it as %20, else use one of {', '.join(_OPTIONS)}"
    else:
        hint = f"use one of {', '.join(_OPTIONS)}"
    return f"unknown option {redacted(key)!r}; {hint}"


def _text_of(file: str, name: str) -> str:
    try:
        if file != "-":
            raw = Path(file).read_bytes()
        else:
            # Read line by line: Python handles no signal during one long read, so Ctrl-C would have to wait.
            raw = b"".join([line for line in sys.stdin.buffer]) if sys.stdin is not None else b""  # noqa: C416
    except OSError as error:
        if "://" in file:
            raise UsageError("-i takes a file that contains URLs; write a URL without -i") from None
        raise UsageError(f"cannot read {name}: {(error.strerror or type(error).__name__).lower()}") from None
    except ValueError:
        raise UsageError("cannot read a file of that name") from None
    try:
        return text_of(raw)
    except ValueError as error:
        raise UsageError(f"cannot read {name}: {error}") from None


_MOST_COMPLAINTS: Final = 10
_PORTS: Final = {"http": 80, "https": 443}


class PlannedDownload(NamedTuple):
    """One download, checked and ready for the engine."""

    source: str
    """The host, with its port if that is not the default one; the site for yt-dlp; or ``source=`` from the list."""
    request: Request
    shown: str
    """The URL without secrets."""
    name: str
    """The name in the live table."""
    is_medium: bool
    """Whether yt-dlp fetches it."""


def read_downloads(
    arguments: Iterable[str],
    files: Iterable[str],
    place: Place,
    sums: Sums,
    fetcher: str,
    *,
    may_be_none: bool = False,
) -> list[PlannedDownload]:
    """Read all downloads in order, each URL once. ``may_be_none``: having no URL is not an error.

    Raises ``UsageError`` with the mistake of each bad line.
    """
    planned: list[PlannedDownload] = []
    wrong: list[str] = []
    seen: dict[str, Line] = {}
    names: dict[str, int] = {}
    for line in _lines(arguments, files):
        try:
            if line.wrong is not None:
                raise PermanentError(line.wrong)
            _check_url(line)
            before = seen.setdefault(key_of(line.url), line)
            if before is line:
                planned.append(_planned(line, place, sums, names, fetcher))
            elif before.options != line.options:
                raise PermanentError(
                    f"the same URL as in {before.where.removesuffix(': ') or 'an argument'}, with other options"
                )
        except (PermanentError, ValueError) as error:
            wrong.append(f"{line.where}{error}")
    if wrong:
        more = len(wrong) - _MOST_COMPLAINTS
        shown = [*wrong[:_MOST_COMPLAINTS], *([f"… and {more} more"] if more > 0 else [])]
        raise UsageError("\n  ".join(["nothing was downloaded:", *shown]) if len(wrong) > 1 else wrong[0])
    if not planned and not may_be_none:
        raise UsageError("no URL; give a URL, -i FILE for a list, or '-' for standard input")
    return planned


_QUOTES: Final = {
    "<": ">",
    '"': '"',
    "'": "'",
    "`": "`",
    "(": ")",
    "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}",
}
_HOST = re.compile(r"(localhost|([\w-]+\.)+[^\W\d][\w-]*|(\d{1,3}\.){3}\d{1,3}|\[[0-9A-Fa-f:.]+\])(:\d+)?([/?#].*)?")


def _check_url(line: Line) -> None:
    """Raise ``PermanentError`` if the URL of ``line`` is invalid. The error says what the user may have meant."""
    url = line.url
    end = _QUOTES.get(url[:1])
    if end is not None and "://" in url:
        raise PermanentError(
            f"remove the {url[0]} before the URL" + (f" and the {end} after it" if end in url[1:] else "")
        )
    hint = ""
    try:
        Target.parse(url)
        return
    except PermanentError as error:
        complaint = str(error)
    if not line.where and os.path.isfile(url):
        hint = f"; to read URLs from that file, write -i {url}"
    elif "://" not in url and _HOST.fullmatch(url.rpartition("@")[2]):
        hint = f"; did you mean {redacted(f'https://{url}')}?"
    raise PermanentError(complaint + hint)


def _lines(arguments: Iterable[str], files: Iterable[str]) -> Iterator[Line]:
    for argument in arguments:
        if argument == "-":
            yield from lines_of("-")
        else:
            url = argument.strip()
            two = any("://" in each for each in url.split()[1:])
            yield Line("", url, {}, "two URLs in one argument; leave out the quotation marks" if two else None)
    for file in files:
        yield from lines_of(file)


def _planned(line: Line, place: Place, sums: Sums, names: dict[str, int], fetcher: str) -> PlannedDownload:
    target = Target.parse(line.url)
    host = target.host if target.port == _PORTS[target.scheme] else f"{target.host}:{target.port}"
    medium = medium_of(line.url, checked_fetcher(line.options.get("with", fetcher)))
    if medium is not None:
        return _medium(line, place, sums, medium, line.options.get("source") or medium.site or host)
    shown = redacted(line.url)
    segment = _segment(shown)
    name = safe_path(line.options.get("name", ""))
    checksum = line.options.get("checksum")
    given = line.options.get("name", "")
    name = place.name_of(line.url, name or segment, date.today()) or name
    found = Checksum.parse(checksum) if checksum is not None else sums.find(line.url, given, name)
    likely = name or segment
    # Number files of the same name in the order of the list, so that the same list finds its files again.
    number = names[likely] = names.get(likely, -1) + 1
    if number and likely:
        folder, slash, last = likely.rpartition("/")
        name = folder + slash + numbered(last, number)
    request = Request(url=line.url, name=name, checksum=None if found is None else str(found))
    return PlannedDownload(line.options.get("source") or host, request, shown, name or segment or host, is_medium=False)


def _medium(line: Line, place: Place, sums: Sums, medium: Medium, source: str) -> PlannedDownload:
    """Plan a page for yt-dlp. The site names its file, unless the list does."""
    name = safe_path(line.options.get("name", ""))
    checksum = line.options.get("checksum")
    found = Checksum.parse(checksum) if checksum is not None else sums.find(line.url, line.options.get("name", ""))
    in_place = place.name_of(line.url, name or medium.name, date.today())
    folder = "".join(in_place.rpartition("/")[:2])
    request = Request(
        url=line.url,
        name=in_place or name if name else folder,
        checksum=None if found is None else str(found),
    )
    return PlannedDownload(source, request, medium.shown, name or medium.name or source, is_medium=True)


def _segment(shown: str) -> str:
    """The file name at the end of a URL."""
    return safe_filename(unquote(urlsplit(shown).path.rpartition("/")[2], errors="replace"))
