"""Fetch one file: look whether it is there, ask for it, interpret the answer, read the body, and let it land."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import urllib3

from haulier.errors import PermanentError, Throttled
from haulier.fetchers import ranges
from haulier.fetchers.body import declared_size, decoder_for
from haulier.fetchers.checksums import Checksum
from haulier.fetchers.destination import Overwrite, folder_for, present
from haulier.fetchers.disposition import disposition_filename
from haulier.fetchers.exchange import Exchange, Reply
from haulier.fetchers.faults import FetchError, cut_short
from haulier.fetchers.filenames import last_component, safe_filename, safe_path
from haulier.fetchers.hosts import HostLimits, Route
from haulier.fetchers.landing import Landing
from haulier.fetchers.origin import Mark, key_of, mark_of
from haulier.fetchers.pace import Pace
from haulier.fetchers.parts import FileBusy
from haulier.fetchers.ranges import Afresh, GoOn, Nonsense, Whole
from haulier.fetchers.refusals import refused, utc_of
from haulier.fetchers.request import Request
from haulier.fetchers.sockets import SLICE_S, Watch
from haulier.fetchers.sums import Expected
from haulier.fetchers.tries import count_try
from haulier.fetchers.urls import Target, redacted

__all__ = ["Delivery"]

CHUNK_BYTES: Final = 256 * 1024
PATIENCE_S: Final = 30.0
"""Seconds to wait for another process that fetches the same file, before the next download of the source starts."""
ALREADY_THERE: Final = "already_there"
"""The record's key that is True if the file was there already."""

_FILE_FOLLOWS: Final = frozenset({200, 203})
_NEVER: Final = Event()


class Delivery:
    """One attempt at one download. ``HttpFetcher`` describes the arguments."""

    def __init__(
        self,
        exchange: Exchange,
        dest: Path,
        overwrite: Overwrite,
        max_size: int | None,
        pace: Pace | None,
        watch: Watch,
        host_limits: HostLimits | None,
    ) -> None:
        self._exchange = exchange
        self._dest = dest
        self._overwrite = overwrite
        self._max_size = max_size
        self._pace = pace
        self._watch = watch
        self._host_limits = host_limits
        self._transfer = watch.transfer

    def fetch(self, request: Request, expected: Expected, filename: str) -> Path:
        """Fetch the file, and return its path.

        If another attempt or process fetches the same URL into the same folder, waits for its end, to find the file or
        to resume it. Raises ``FileBusy`` if that takes longer than ``PATIENCE_S``.
        """
        until = monotonic() + PATIENCE_S
        while True:
            try:
                return self._attempt(request, expected, filename)
            except FileBusy:
                if monotonic() >= until:
                    raise
            self._rest(SLICE_S)

    def _attempt(self, request: Request, expected: Expected, filename: str) -> Path:
        asked = Target.parse(request.url)
        self._key = key_of(request.url)
        self._shown = redacted(request.url)
        folder, _, last = request.name.replace("\\", "/").rpartition("/")
        self._folder = folder_for(self._dest, safe_path(folder))
        wanted = self._within(safe_filename(filename) or safe_filename(last))
        name = wanted or self._within(safe_filename(last_component(asked.last_segment)) or "download")
        if wanted:
            expected.named(wanted)  # raises for an unlisted file before it is asked for
        there = None if self._overwrite == "always" else present(self._dest, name, self._key)
        if there is not None:
            if self._overwrite == "never":
                return self._already(there, expected.named(name))
            wanted = name = there.relative_to(self._dest).as_posix()  # it may have a number
        landing = Landing(self._dest, name, self._key, overwrite=self._overwrite)
        try:
            return self._land(landing, there, wanted, asked, request.headers, expected)
        except (FetchError, Throttled) as failure:
            count_try(self._transfer, failure, landing.found, landing.kept)
            raise

    def _land(
        self,
        landing: Landing,
        there: Path | None,
        wanted: str,
        asked: Target,
        headers: Mapping[str, str],
        expected: Expected,
    ) -> Path:
        route = Route(self._host_limits, asked, self._transfer)
        self._watch.slowness.begin()
        with landing:
            conditions = _unless(there) if there is not None else {}
            restarts = 0
            while restarts < 2:
                more = conditions if landing.begun is None else conditions | ranges.asked_for(landing.begun)
                reply = self._exchange.ask(asked, headers, more, self._watch, route)
                try:
                    if reply.answer.status == 304 and there is not None:
                        landing.discard()
                        return self._already(there, expected.named(wanted))
                    path = self._received(reply, landing, wanted, asked, expected)
                finally:
                    reply.close()
                if path is not None:
                    return path
                if not landing.go_on():
                    landing.restart()
                    restarts += 1
        raise FetchError("the server cannot resume the download")

    def _received(self, reply: Reply, landing: Landing, wanted: str, asked: Target, expected: Expected) -> Path | None:
        """Read an answer. Returns the path of the file; None if the rest, or all of it, must be asked for again."""
        answer, headers, begun = reply.answer, reply.answer.headers, landing.begun
        if answer.status not in _FILE_FOLLOWS and (begun is None or answer.status not in (206, 416)):
            fault = refused(answer.status, headers)
            raise reply.turn.paused(fault) if isinstance(fault, Throttled) else fault
        means = Afresh() if begun is None else ranges.meaning(begun, answer.status, headers)
        if isinstance(means, Nonsense) and answer.status == 416:
            return None
        if isinstance(means, Nonsense):
            landing.discard()
            raise FetchError(means.why)
        name = wanted or self._within(_name_of(reply, asked))
        checksum = expected.named(name)
        if isinstance(means, Afresh):
            mine = present(self._dest, name, self._key)
            there = self._same(mine or self._dest / name, headers)
            landing.restart()
            if there is not None:
                return self._already(there, checksum)
            if mine is not None:
                name = mine.relative_to(self._dest).as_posix()
        if isinstance(means, Whole):
            self._transfer.progress(landing.length, landing.length)
        else:
            is_whole = self._read(reply, landing, name, means)
            if not is_whole:
                return None
        self._check(landing, checksum, resumed=not isinstance(means, Afresh))
        self._transfer.raise_if_cancelled()
        etag, modified = headers.get("ETag", "").strip() or None, headers.get("Last-Modified", "")
        if begun is not None and not isinstance(means, Afresh):
            etag, modified = begun.etag or etag, begun.last_modified or modified
        mark = Mark(self._key, etag, self._shown)
        path = landing.land(name.rpartition("/")[2], mtime=utc_of(modified), mark=mark)
        if landing.found_twin and checksum is not None:
            checksum.verify(path, "is there already, with")
        return path

    def _within(self, name: str) -> str:
        """The path of ``name`` in the requested folder; '' if ``name`` is empty."""
        return f"{self._folder}/{name}" if name and self._folder else name

    def _read(self, reply: Reply, landing: Landing, name: str, means: Afresh | GoOn) -> bool:
        """Read the body into the part. Returns False if the server sent a shorter range than it was asked for."""
        answer, transfer = reply.answer, self._transfer
        declared = declared_size(answer.headers)
        decoder = decoder_for(answer.headers, name)
        before = landing.length
        size = declared
        if isinstance(means, GoOn):
            size = means.size
            if declared not in (None, means.length):
                landing.discard()
                raise FetchError("the server's Content-Length and Content-Range contradict each other")
            declared = means.length
        if self._max_size is not None and size is not None and size > self._max_size:
            landing.discard()
            raise PermanentError(f"it has {size:,} bytes, and max_size is {self._max_size:,}")
        if isinstance(means, Afresh):
            etag, modified = ranges.validators(answer.headers)
            landing.note(etag, modified, size, resumable=decoder.keeps_bytes)
        done = 0
        self._watch.slowness.body_begins()
        transfer.progress(before, size)
        while chunk := self._chunk(answer, done, declared, before):
            for piece in decoder.feed(chunk):
                transfer.raise_if_cancelled()
                landing.write(piece)
                if self._max_size is not None and landing.length > self._max_size:
                    landing.discard()
                    raise PermanentError(f"it has more than max_size, {self._max_size:,} bytes")
            done += len(chunk)
            self._watch.slowness.received(len(chunk))
            transfer.progress(before + done, size)
        if done == declared and isinstance(means, GoOn) and before + done < means.size:
            return False
        if (declared is not None and done != declared) or (size is not None and before + done != size):
            raise cut_short(before + done, size, None, self._exchange.timeout_s)
        decoder.finish()
        transfer.progress(before + done, before + done)
        return True

    def _chunk(self, answer: urllib3.BaseHTTPResponse, done: int, declared: int | None, before: int) -> bytes:
        """Read at most one chunk. Returns b'' at the end of the body."""
        if done == declared:
            return b""
        most = CHUNK_BYTES if self._pace is None else min(CHUNK_BYTES, self._pace.most_bytes)
        self._watch.slowness.check()
        try:
            chunk = answer.read1(most, decode_content=False)
        except urllib3.exceptions.HTTPError as exc:
            size = None if declared is None else before + declared
            failure = cut_short(before + done, size, exc, self._exchange.timeout_s)
        else:
            if self._pace is not None:
                self._rest(self._pace.spend(len(chunk)))
            return chunk
        raise failure

    def _rest(self, seconds: float) -> None:
        self._watch.slowness.rested(seconds)
        while seconds > 0:
            self._transfer.raise_if_cancelled()
            _NEVER.wait(min(seconds, SLICE_S))
            seconds -= SLICE_S

    def _check(self, landing: Landing, checksum: Checksum | None, *, resumed: bool) -> None:
        if checksum is None:
            return
        found = landing.digest(checksum.algorithm)
        if found == checksum.digest:
            return
        landing.discard()
        text = f"wrong checksum: {checksum.algorithm} is {found}, not {checksum.digest}"
        raise FetchError(f"{text}; all of it is fetched anew") if resumed else PermanentError(text)

    def _same(self, path: Path, headers: urllib3.HTTPHeaderDict) -> Path | None:
        """``path`` if the server has the same file: by its mark, or without a mark by size and date. Else None."""
        mark = mark_of(path)
        if self._overwrite == "always" or (mark is not None and mark.key != self._key):
            return None
        if self._overwrite == "never" and mark is not None:
            return path
        modified, size = utc_of(headers.get("Last-Modified", "")), declared_size(headers)
        if modified is None or size is None or path.is_symlink() or not path.is_file():
            return None
        status = path.stat()
        return path if (status.st_size, int(status.st_mtime)) == (size, int(modified)) else None

    def _already(self, path: Path, checksum: Checksum | None) -> Path:
        if checksum is not None:
            checksum.verify(path, "is there already, with")
        size = path.stat().st_size
        self._transfer.cell[ALREADY_THERE] = True
        self._transfer.progress(size, size)
        return path


def _unless(there: Path) -> dict[str, str]:
    """The headers that ask for the file only if it differs from ``there``."""
    mark = mark_of(there)
    if mark is not None and mark.etag is not None:
        return {"if-none-match": mark.etag}
    return {"if-modified-since": formatdate(there.stat().st_mtime, usegmt=True)}


def _name_of(reply: Reply, asked: Target) -> str:
    """The name of a file without a requested name: from the server, the final URL or the first URL, else 'download'."""
    names = (
        disposition_filename(reply.answer.headers.get("Content-Disposition", "")),
        last_component(reply.target.last_segment),
        last_component(asked.last_segment),
    )
    return next(filter(None, map(safe_filename, names)), "download")
