"""Fixtures of the tests of the command line: a file server, and haulier as a process, with pipes or on a terminal."""

from __future__ import annotations

import os
import pty
import re
import selectors
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Protocol, TypeAlias

import pytest

import haulier

GUARD_S = 30.0
"""The limit of every wait, in seconds. Nothing here takes that long, even on a busy machine."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TICK = threading.Event()

Route: TypeAlias = Callable[["Exchange"], None]
WaitUntil: TypeAlias = Callable[[Callable[[], object], str], None]


class Haulier(Protocol):
    """The fixture ``run``."""

    def __call__(self, *args: str, stdin: str = "", **more_env: str) -> subprocess.CompletedProcess[str]: ...


class Start(Protocol):
    """The fixture ``start``."""

    def __call__(self, *args: str, more_env: Mapping[str, str] = ..., stream: int = ...) -> subprocess.Popen[str]: ...


class OpenTerminal(Protocol):
    """The fixture ``terminal``."""

    def __call__(self, *args: str, columns: int = ..., **env: str) -> Terminal: ...


# ---- the server ------------------------------------------------------------------------------------------------------


class Exchange(BaseHTTPRequestHandler):
    """One connection. A request counts as active in its site until ``leave`` is called."""

    protocol_version = "HTTP/1.1"
    timeout = GUARD_S
    server: _Server

    def do_GET(self) -> None:
        self.site = self.server.site
        self.site.enter()
        self.inside = True
        try:
            self.site.routes.get(self.path, answer(404))(self)
        finally:
            self.leave()

    def leave(self) -> None:
        """Count the end of this request. Call it before the last byte is sent: the next request may follow at once."""
        if self.inside:
            self.inside = False
            self.site.leave()

    def head(self, status: int, length: int, **headers: str) -> None:
        """Send the status and the headers; ``_`` in the name of a header stands for ``-``."""
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def answer(status: int = 200, body: bytes = b"") -> Route:
    """Make a route that answers with ``status`` and ``body``."""

    def route(exchange: Exchange) -> None:
        exchange.leave()
        exchange.head(status, len(body))
        exchange.wfile.write(body)

    return route


@dataclass
class Site:
    """A file server, and the requests that it got."""

    routes: dict[str, Route] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    """Routes of ``hold`` wait until this is set."""
    active: int = 0
    peak: int = 0
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    port: int = 0
    lock: threading.Condition = field(default_factory=threading.Condition)

    def enter(self) -> None:
        with self.lock:
            self.active += 1
            self.peak = max(self.peak, self.active)
            self.starts.append(monotonic())
            self.lock.notify_all()

    def leave(self) -> None:
        with self.lock:
            self.active -= 1
            self.ends.append(monotonic())

    def wait_peak(self, count: int) -> None:
        """Wait until at least ``count`` requests were active at once."""
        with self.lock:
            assert self.lock.wait_for(lambda: self.peak >= count, GUARD_S), f"never {count} at once"

    def url(self, path: str, *, host: str = "127.0.0.1", user: str = "") -> str:
        return f"http://{user}{host}:{self.port}{path}"

    def on(self, path: str, route: Route) -> str:
        """Answer requests for ``path`` with ``route``. Returns the URL, as the methods below do."""
        self.routes[path] = route
        return self.url(path)

    def serve(self, path: str, body: bytes = b"a file") -> str:
        """Serve ``body`` at ``path``."""
        return self.on(path, answer(200, body))

    def hold(self, path: str, body: bytes = b"12345678" * 1000) -> str:
        """Serve half of ``body``, and the rest once ``gate`` is set."""

        def route(exchange: Exchange) -> None:
            exchange.head(200, len(body))
            exchange.wfile.write(body[: len(body) // 2])
            assert self.gate.wait(GUARD_S)
            exchange.leave()
            exchange.wfile.write(body[len(body) // 2 :])

        return self.on(path, route)

    def breaking(self, path: str, times: int, body: bytes = b"12345678" * 1000) -> str:
        """Close the connection in the middle of ``body`` the first ``times`` times, then serve all of it."""
        left = [times]

        def route(exchange: Exchange) -> None:
            whole, left[0] = left[0] == 0, max(0, left[0] - 1)
            exchange.head(200, len(body))
            exchange.leave()
            exchange.wfile.write(body if whole else body[: len(body) // 2])
            exchange.close_connection = not whole

        return self.on(path, route)


class _Server(ThreadingHTTPServer):
    site: Site
    daemon_threads = False  # so that server_close() joins the threads
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Ignore the error: some tests kill the client."""


@pytest.fixture
def site(no_thread_left: object) -> Iterator[Site]:
    site = Site()
    server = _Server(("127.0.0.1", 0), Exchange)
    server.site = site
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="site")
    thread.start()
    yield site
    site.gate.set()
    server.shutdown()
    server.server_close()
    thread.join(GUARD_S)


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of the command line: a plain terminal, and a temporary folder inside ``tmp_path``."""
    for_rich = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    kept = {name: value for name, value in os.environ.items() if name not in for_rich}
    source = str(Path(haulier.__file__).parents[1])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return {**kept, "PYTHONPATH": source, "TMPDIR": str(scratch), "TERM": "xterm-256color"}


@pytest.fixture
def run(tmp_path: Path, env: dict[str, str]) -> Haulier:
    """``run('get', url, stdin='…')``: run haulier to its end in ``tmp_path``."""

    def run(*args: str, stdin: str = "", **more_env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "haulier", *args],
            cwd=tmp_path,
            env={**env, **more_env},
            timeout=GUARD_S,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def start(tmp_path: Path, env: dict[str, str]) -> Iterator[Start]:
    """``start('get', url)``: start haulier in ``tmp_path`` with pipes. The process is killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, more_env: Mapping[str, str] = env, stream: int = subprocess.PIPE) -> subprocess.Popen[str]:
        with _interruptible():
            process = subprocess.Popen(
                [sys.executable, "-m", "haulier", *args],
                cwd=tmp_path,
                env={**env, **more_env},
                text=True,
                stdin=stream,
                stdout=stream,
                stderr=stream,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(GUARD_S)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let child processes receive Ctrl-C. A suite in the background ignores it, and its children would inherit that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def wait_until() -> WaitUntil:
    """``wait_until(condition, what)``: check the condition every 10 ms until it is true."""

    def wait_until(condition: Callable[[], object], what: str) -> None:
        deadline = monotonic() + GUARD_S
        while not condition():
            assert monotonic() < deadline, f"never: {what}"
            _TICK.wait(0.01)

    return wait_until


@pytest.fixture
def wait_begun(tmp_path: Path, wait_until: WaitUntil) -> Callable[[str], None]:
    """``wait_begun('into/a.bin')``: wait until the file has a part, so its server has answered."""

    def wait_begun(name: str) -> None:
        wait_until((tmp_path / f"{name}.part.json").exists, f"a part of {name}")

    return wait_begun


class Terminal:
    """haulier on a pseudo-terminal of 24 lines. ``raw`` is all that it wrote."""

    def __init__(self, start: Start, args: tuple[str, ...], columns: int, **env: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns)
        self.process = start(*args, more_env=env, stream=slave)
        os.close(slave)
        self.raw = ""
        self._poll = selectors.DefaultSelector()
        self._poll.register(self._master, selectors.EVENT_READ)

    def resize(self, columns: int) -> None:
        ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    @property
    def text(self) -> str:
        """What haulier wrote, without escape sequences."""
        return _ESCAPES.sub("", self.raw)

    def read_until(self, condition: Callable[[], object]) -> None:
        deadline = monotonic() + GUARD_S
        while not condition():
            assert monotonic() < deadline, self.text
            assert self._read(), self.text

    def read_to_end(self) -> int:
        """Read until the process closes the terminal. Returns the exit status."""
        while self._read():
            pass
        return self.process.wait(GUARD_S)

    def _read(self) -> bool:
        chunk = b""
        if self._poll.select(GUARD_S):
            with suppress(OSError):  # on Linux, read() fails once the terminal is closed
                chunk = os.read(self._master, 65536)
        self.raw += chunk.decode(errors="replace")
        return bool(chunk)

    def close(self) -> None:
        self._poll.close()
        os.close(self._master)


@pytest.fixture
def terminal(start: Start) -> Iterator[OpenTerminal]:
    """``terminal('get', url, columns=80)``: start haulier on a terminal of that width."""
    opened: list[Terminal] = []

    def open_terminal(*args: str, columns: int = 80, **env: str) -> Terminal:
        opened.append(Terminal(start, args, columns, **env))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()
