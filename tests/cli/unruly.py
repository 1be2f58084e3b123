"""File hosts that misbehave in a fifth of their responses, and record the requests that they get."""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Final

__all__ = ["MISDEEDS", "Unruly", "unruly_hosts"]

ETAG_OF: Final = '"{}"'
LAST_MODIFIED: Final = "Wed, 01 Jul 2026 12:00:00 GMT"

_TICK = threading.Event()


def body_of(name: str) -> bytes:
    """The content of a file: the same random bytes each time, between 1 byte and about 60 kB."""
    draw = random.Random(name)
    return draw.randbytes(draw.choice([1, 100, 4_000, 20_000, 60_000]) + draw.randrange(100))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    unruly: Unruly

    def handle_error(self, *_: object) -> None:
        """Ignore the error: the client was killed."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    server: _Server

    def do_GET(self) -> None:
        host = self.server.unruly
        misdeed = host.begin()
        self.inside = True
        try:
            name = self.path.rpartition("/")[2]
            (MISDEEDS[misdeed] if misdeed else _well)(self, name, body_of(name))
        finally:
            self.end()

    def end(self) -> None:
        """Count the end of the request. Call it before the last byte is sent: the next request may follow at once."""
        if self.inside:
            self.inside = False
            self.server.unruly.end()

    def answer(self, status: int, declared: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in (("Content-Length", str(declared)), *headers):
            self.send_header(*header)
        self.end_headers()

    def slowly(self, body: bytes) -> None:
        """Send ``body`` in two halves, 4 ms apart, so that a kill interrupts some downloads in the middle."""
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        _TICK.wait(0.004)
        self.end()
        self.wfile.write(body[half:])

    def hang_up(self) -> None:
        """Close the connection after this response."""
        self.close_connection = True
        self.end()

    def log_message(self, *_: object) -> None: ...


def _validators(name: str) -> tuple[tuple[str, str], ...]:
    etag = ETAG_OF.format(hashlib.sha256(body_of(name)).hexdigest()[:16])
    return ("ETag", etag), ("Last-Modified", LAST_MODIFIED), ("Accept-Ranges", "bytes")


def _well(answer: _Answer, name: str, body: bytes) -> None:
    asked = re.fullmatch(r"bytes=(\d+)-", answer.headers.get("Range", ""))
    validators = _validators(name)
    if asked is None or answer.headers.get("If-Range") not in (validators[0][1], None):
        answer.answer(200, len(body), *validators)
        answer.slowly(body)
        return
    first = int(asked[1])
    answer.server.unruly.resumed += 1
    if first >= len(body):
        answer.end()
        answer.answer(416, 0, ("Content-Range", f"bytes */{len(body)}"))
        return
    answer.answer(206, len(body) - first, ("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}"), *validators)
    answer.slowly(body[first:])


def _cut(answer: _Answer, name: str, body: bytes) -> None:
    answer.answer(200, len(body), *_validators(name))
    answer.wfile.write(body[: len(body) // 2])
    answer.hang_up()


def _cut_without_validator(answer: _Answer, _name: str, body: bytes) -> None:
    answer.answer(200, len(body))
    answer.wfile.write(body[: len(body) // 3])
    answer.hang_up()


def _chunks_without_end(answer: _Answer, name: str, body: bytes) -> None:
    answer.send_response(200)
    for header in (("Transfer-Encoding", "chunked"), *_validators(name)):
        answer.send_header(*header)
    answer.end_headers()
    answer.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
    answer.hang_up()


def _no_answer(answer: _Answer, _name: str, _body: bytes) -> None:
    answer.hang_up()


def _error(answer: _Answer, _name: str, _body: bytes) -> None:
    answer.end()
    answer.answer(500, 0)


def _busy(answer: _Answer, _name: str, _body: bytes) -> None:
    answer.end()
    answer.answer(429, 0, ("Retry-After", "1"))


def _wrong_range(answer: _Answer, name: str, body: bytes) -> None:
    """Answer a range request with another range. Cut the body of any other request."""
    asked = re.fullmatch(r"bytes=(\d+)-", answer.headers.get("Range", ""))
    if asked is None or int(asked[1]) == 0:
        _cut(answer, name, body)
        return
    answer.answer(206, len(body), ("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}"), *_validators(name))
    answer.end()
    answer.wfile.write(body)


def _whole_in_spite_of_range(answer: _Answer, name: str, body: bytes) -> None:
    """Ignore the range, which HTTP allows, and close the connection after the whole body."""
    answer.answer(200, len(body), *_validators(name), ("Connection", "close"))
    answer.end()
    answer.wfile.write(body)
    answer.close_connection = True


def _gzip_that_lies(answer: _Answer, name: str, body: bytes) -> None:
    answer.answer(200, len(body), ("Content-Encoding", "gzip"), *_validators(name))
    answer.end()
    answer.wfile.write(body)


MISDEEDS: Final[dict[str, Callable[[_Answer, str, bytes], None]]] = {
    "cut in the middle": _cut,
    "cut, and no validator": _cut_without_validator,
    "chunks without an end": _chunks_without_end,
    "no answer": _no_answer,
    "500": _error,
    "429": _busy,
    "another range than asked for": _wrong_range,
    "all in spite of a range": _whole_in_spite_of_range,
    "gzip that lies": _gzip_that_lies,
}
_OFTEN: Final = {"429": 0.1}
"""The weights of the misdeeds, 1 by default. A 429 is rare, as it suspends its host for a second."""


class Unruly:
    """One host that misbehaves in a fifth of its responses."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0
        self.misdone: Counter[str] = Counter()
        self.peak = 0
        self.shortest_rest_s = float("inf")
        self.answers = self.resumed = 0
        self._active = 0
        self._ended_at = float("-inf")
        self._draw = random.Random(address)
        self._changed = threading.Condition()

    def url(self, name: str) -> str:
        """The URL of the file ``name``."""
        return f"http://{self.address}:{self.port}/files/{name}"

    def begin(self) -> str | None:
        """Count the start of a request. Returns the misdeed of its response, or None."""
        with self._changed:
            self._active += 1
            self.answers += 1
            self.peak = max(self.peak, self._active)
            self.shortest_rest_s = min(self.shortest_rest_s, monotonic() - self._ended_at)
            if self._draw.random() >= 0.2:
                return None
            misdeed = self._draw.choices(list(MISDEEDS), [_OFTEN.get(each, 1.0) for each in MISDEEDS])[0]
            self.misdone[misdeed] += 1
            return misdeed

    def end(self) -> None:
        """Count the end of a request."""
        with self._changed:
            self._active -= 1
            self._ended_at = monotonic()
            self._changed.notify_all()

    def forget(self) -> None:
        """Wait for the open requests of a killed process. The delay does not apply between two processes."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._active == 0, 20), f"{self.address} still answers"
            self._ended_at = float("-inf")


@contextmanager
def unruly_hosts(count: int) -> Iterator[list[Unruly]]:
    """Start ``count`` hosts, each at its own loopback address."""
    hosts, servers = [], []
    for number in range(1, count + 1):
        host = Unruly(f"127.0.0.{number}")
        server = _Server((host.address, 0), _Answer)
        server.unruly = host
        host.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        hosts.append(host)
        servers.append(server)
    try:
        yield hosts
    finally:
        for server in servers:
            with suppress(OSError):
                server.shutdown()
                server.server_close()
