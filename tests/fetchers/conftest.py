"""A real HTTP server on the loopback interface, which misbehaves as it is told."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from haulier._engine.ticket import make_ticket
from haulier.fetchers.http import HttpFetcher
from haulier.transfer import Transfer

GUARD_S = 10.0
"""Longer than anything here takes: what is waited for and not there by then hangs."""


@dataclass
class Asked:
    """One request that the server got."""

    path: str
    headers: Mapping[str, str]
    client: tuple[str, int]


class Exchange(BaseHTTPRequestHandler):
    """One connection to the server; a route writes to it what it likes."""

    protocol_version = "HTTP/1.1"
    timeout = GUARD_S
    server: Any

    def do_GET(self) -> None:
        site: Site = self.server.site
        site.asked.append(Asked(self.path, dict(self.headers.items()), self.client_address))
        site.routes.get(urlsplit(self.path).path, answer(404))(self)

    def raw(self, data: bytes) -> None:
        """Write ``data`` as it is."""
        self.wfile.write(data)
        self.wfile.flush()

    def hang_up(self) -> None:
        """Close the connection after the route."""
        self.close_connection = True

    def hang(self) -> None:
        """Say nothing more until the test is over."""
        assert self.server.site.over.wait(GUARD_S)
        self.hang_up()

    def log_message(self, *_: object) -> None:
        pass


Route = Callable[[Exchange], None]


def answer(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Route:
    """A route that behaves: ``body`` with its length, and ``headers``, which may override it."""

    def route(exchange: Exchange) -> None:
        sent = {"Content-Length": str(len(body)), **(headers or {})}
        head = f"HTTP/1.1 {status} Whatever\r\n" + "".join(f"{k}: {v}\r\n" for k, v in sent.items() if v)
        exchange.raw(head.encode("latin-1") + b"\r\n" + body)

    return route


@dataclass
class Site:
    """A server with ``routes``, which remembers what it was ``asked``."""

    scheme: str = "http"
    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def url(self, path: str, *, host: str = "127.0.0.1", user: str = "") -> str:
        return f"{self.scheme}://{user}{host}:{self.port}{path}"

    def serve(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        """Answer ``path`` so; an underscore in a header's name stands for a hyphen. Returns the URL."""
        self.routes[path] = answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return self.url(path)

    def on(self, path: str, route: Route) -> str:
        self.routes[path] = route
        return self.url(path)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for them
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that has gone: that is what many tests do."""


def _running(site: Site, context: ssl.SSLContext | None = None) -> Iterator[Site]:
    server = _Server(("127.0.0.1", 0), Exchange)
    server.site = site  # type: ignore[attr-defined]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="site")
    thread.start()
    try:
        yield site
    finally:
        site.over.set()
        server.shutdown()
        server.server_close()
        thread.join(GUARD_S)
        assert not thread.is_alive()


@pytest.fixture
def site() -> Iterator[Site]:
    """A plain server."""
    yield from _running(Site())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost (not for 127.0.0.1), and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([openssl, *command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def tls_site(certificate: tuple[Path, Path]) -> Iterator[Site]:
    """A server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    yield from _running(Site("https"), context)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """The folder that is downloaded into; it does not exist yet."""
    return tmp_path / "into"


@pytest.fixture
def make_fetcher(dest: Path) -> Iterator[Callable[..., HttpFetcher]]:
    """Fetchers into ``dest``, whose connections are closed after the test."""
    made: list[HttpFetcher] = []

    def make(**options: Any) -> HttpFetcher:
        made.append(HttpFetcher(dest, **{"timeout": GUARD_S, **options}))
        return made[-1]

    yield make
    for fetcher in made:
        fetcher.close()


class Fetch(Protocol):
    def __call__(self, url: object, filename: str = "", transfer: Transfer | None = None) -> Path: ...


@pytest.fixture
def fetch_by() -> Callable[[HttpFetcher], Fetch]:
    """``fetch_by(fetcher)(url, filename='', transfer=None)``: as the engine calls it."""

    def fetch_by(fetcher: HttpFetcher) -> Fetch:
        def fetch(url: object, filename: str = "", transfer: Transfer | None = None) -> Path:
            transfer = transfer or new_transfer(url, filename)
            return Path(fetcher(transfer.download_id, url, "a file", transfer=transfer))

        return fetch

    return fetch_by


@pytest.fixture
def fetch(make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[[HttpFetcher], Fetch]) -> Fetch:
    """The same, by one fetcher with the defaults."""
    return fetch_by(make_fetcher())


def new_transfer(url: object = "", filename: str = "") -> Transfer:
    ticket = make_ticket("an-id", "example", url, "a file", filename, "example")
    return Transfer(ticket=ticket, attempt=1, cell={}, started_at=0.0)


@pytest.fixture
def transfer() -> Transfer:
    """A transfer of a download without a name of its own."""
    return new_transfer()


class Background:
    """A call on a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as exc:
            self._error = exc

    def wait(self, timeout_s: float = GUARD_S) -> Any:
        """The result; or raises what the call raised."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"still running after {timeout_s} s"
        if self._error is not None:
            raise self._error
        return self._result


@pytest.fixture
def in_background() -> type[Background]:
    """``in_background(call)`` runs it on a thread; ``.wait()`` on what it returns."""
    return Background
