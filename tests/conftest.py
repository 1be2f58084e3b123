"""What every test gets: an engine that is closed, nothing left behind, and an impl that waits to be let go.

A test whose downloads fail on purpose says which ERROR lines it expects, as regular expressions, and none for any::

    @pytest.mark.expect_errors(r"Failed: .* at tidal")
    def test_it(engine, gatekeeper, logged_errors): ...
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias
from zlib import crc32

import pytest
from hypothesis import settings
from tests.waiting import GUARD_S, Gatekeeper, Listener, at_once

from haulier import DownloadEngine
from haulier.verify import verify

pytest_plugins = ["postgres"]

# A busy machine is no failure: what hangs is found by the time limit of the test.
settings.register_profile("haulier", deadline=None)
settings.load_profile("haulier")

MakeEngine: TypeAlias = Callable[..., DownloadEngine]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "expect_errors(*patterns): haulier and pykka may log these as ERROR; none: any")


# ---- nothing is left behind ------------------------------------------------------------------------------------------


class _Errors(logging.Handler):
    """Keeps what is logged as ERROR or worse."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def logged_errors(request: pytest.FixtureRequest) -> Iterator[list[logging.LogRecord]]:
    """What haulier and pykka logged as ERROR. Anything the test did not expect (``expect_errors``) fails it."""
    handler = _Errors()
    loggers = [logging.getLogger("haulier"), logging.getLogger("pykka")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.records
    for logger in loggers:
        logger.removeHandler(handler)
    markers = list(request.node.iter_markers("expect_errors"))
    if any(not marker.args for marker in markers):
        return
    patterns = [re.compile(pattern) for marker in markers for pattern in marker.args]
    texts = [_text(record) for record in handler.records]
    assert [text for text in texts if not any(pattern.search(text) for pattern in patterns)] == []


def _text(record: logging.LogRecord) -> str:
    cause = record.exc_info[1] if record.exc_info else None
    return record.getMessage() + ("" if cause is None else f" [{cause!r}]")


@pytest.fixture(autouse=True)
def no_thread_left(logged_errors: object) -> Iterator[None]:
    """Every thread that came with the test has gone with it."""
    before = set(threading.enumerate())
    yield
    deadline = monotonic() + GUARD_S
    for thread in set(threading.enumerate()) - before:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - monotonic()))
    assert [thread.name for thread in set(threading.enumerate()) - before] == []


# ---- engines ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_engine(no_thread_left: object, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeEngine]:
    """``make_engine(**options)``: engines that are closed at the end.

    In every other test, which ones depends on the seed, they are traced, and the traces are verified: an engine takes
    shorter ways where nobody listens, and those are to be tested as well.
    """
    engines: list[DownloadEngine] = []
    traces: list[Path] = []
    traced = crc32(f"{request.node.nodeid} {request.config.getoption('randomly_seed', 0)}".encode()) % 2

    def make(**options: Any) -> DownloadEngine:
        if traced and "trace" not in options:
            traces.append(tmp_path / f"engine-{len(traces)}.trace")
            options["trace"] = traces[-1]
        engines.append(DownloadEngine(**options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close(timeout=GUARD_S)
    for trace in traces:
        with trace.open() as lines:
            verify(lines)


@pytest.fixture
def engine(make_engine: MakeEngine) -> DownloadEngine:
    """An engine as a program makes it, closed at the end."""
    return make_engine()


# ---- impls -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_gatekeeper(make_engine: object) -> Iterator[Callable[[], Gatekeeper]]:
    """Gatekeepers, opened at the end, before the engine is closed."""
    made: list[Gatekeeper] = []

    def make() -> Gatekeeper:
        made.append(Gatekeeper())
        return made[-1]

    yield make
    for gatekeeper in made:
        gatekeeper.open()


@pytest.fixture
def gatekeeper(make_gatekeeper: Callable[[], Gatekeeper]) -> Gatekeeper:
    """One gatekeeper."""
    return make_gatekeeper()


# ---- threads and events ----------------------------------------------------------------------------------------------


@pytest.fixture
def listener(engine: DownloadEngine) -> Iterator[Listener]:
    """A listener that is subscribed to ``engine``."""
    heard = Listener()
    with engine.subscribe(heard):
        yield heard


@pytest.fixture(name="at_once")
def at_once_fixture() -> Callable[..., list[Any]]:
    """``at_once(*calls)``: run them on a thread each, let go together."""
    return at_once
