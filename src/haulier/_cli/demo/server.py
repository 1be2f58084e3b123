"""The file server of the demo. It plays all hosts, and measures the requests that it gets."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any, Final

from haulier._cli.demo.hosts import HOSTS, Host, content

__all__ = ["Meter", "Site"]

STEP_S: Final = 0.04
"""Seconds between two pieces of a file."""


class Meter:
    """The requests to one host, as the server saw them.

    A request counts as active from its arrival until just before its last byte is sent. So a client that waits for the
    last byte before its next request is never counted as two.
    """

    def __init__(self) -> None:
        self.peak = 0
        """The largest number of requests at once."""
        self.refused = 0
        """How many requests were answered with 429."""
        self.broken = 0
        """How many connections the server closed in the middle of a file."""
        self.shortest_rest_s: float | None = None
        """The shortest time between the end of one request and the start of the next."""
        self._active = 0
        self._last_end: float | None = None
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def enter(self, name: str) -> bool:
        """Count the start of a request. Returns whether it is the first one for this file."""
        with self._lock:
            self._active += 1
            self.peak = max(self.peak, self._active)
            if self._last_end is not None:
                rest_s = monotonic() - self._last_end
                self.shortest_rest_s = rest_s if self.shortest_rest_s is None else min(rest_s, self.shortest_rest_s)
            first = name not in self._seen
            self._seen.add(name)
            return first

    def leave(self) -> None:
        """Count the end of a request."""
        with self._lock:
            self._active -= 1
            self._last_end = monotonic()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    site: Site

    def handle_error(self, *_: object) -> None:
        """Ignore the error: the client was stopped and closed its connection."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        site: Site = self.server.site
        _, host_name, name = self.path.split("/")
        host = next(host for host in HOSTS if host.name == host_name)
        number = host.file_names.index(name) + 1
        meter = site.meters[host.name]
        first = meter.enter(name)
        if first and number in host.pauses:
            meter.refused += 1
            meter.leave()
            self.send_response(429)
            self.send_header("Retry-After", str(site.pause_s))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(host.size_bytes))
        self.end_headers()
        body = content(host, name)
        if first and number in host.breaks:
            meter.broken += 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self._send(body, host.share * site.length_s * len(body) / host.size_bytes, meter)

    def _send(self, body: bytes, over_s: float, meter: Meter) -> None:
        steps = max(2, round(over_s / STEP_S))
        start_at = monotonic()
        has_left = False
        try:
            for step in range(steps):
                if self.server.site.closing.wait(max(0.0, start_at + over_s * (step + 1) / steps - monotonic())):
                    return
                if step == steps - 1:
                    meter.leave()
                    has_left = True
                self.wfile.write(body[len(body) * step // steps : len(body) * (step + 1) // steps])
        finally:
            if not has_left:
                meter.leave()

    def log_message(self, *_: object) -> None:
        """Print nothing: the table is on the screen."""


class Site:
    """The server, as a context manager. ``length_s``: how long the demo should take, in seconds."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self.pause_s = max(1, round(length_s / 8))
        """The value of ``Retry-After``, in seconds."""
        self.meters = {host.name: Meter() for host in HOSTS}
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Exchange)
        self._server.site = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-server", daemon=True
        )

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, host: Host, name: str) -> str:
        """The URL of a file."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{host.name}/{name}"
