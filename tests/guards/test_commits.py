"""How often a burst is written: a commit is a wait for the disk, and the many share it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from haulier import DownloadEngine
from haulier._engine import messages as m
from haulier._engine.shells.backlog import BACKLOG
from haulier._engine.worker import Wanted

GUARD_S = 30.0

BURST = 4000


@pytest.fixture
def engine(make_engine: Callable[..., DownloadEngine], tmp_path: Path) -> DownloadEngine:
    """One whose records are on disk."""
    return make_engine(store=tmp_path / "haulier.db")


@pytest.fixture
def commits(engine: DownloadEngine) -> list[str]:
    """Each commit, as SQLite itself sees it."""
    seen: list[str] = []
    store: Any = engine._system.store

    def look(statement: str) -> None:
        if statement.startswith("COMMIT"):
            seen.append(statement)

    store.storage._connection.set_trace_callback(look)
    return seen


class Gate:
    """Holds up the store's first write from now on."""

    def __init__(self, engine: DownloadEngine) -> None:
        store: Any = engine._system.store
        self._write = store.storage.write
        self._came, self._open = threading.Event(), threading.Event()
        store.storage.write = self

    def __call__(self, batch: Any) -> None:
        self._came.set()
        assert self._open.wait(GUARD_S), "nobody let the write go on"
        self._write(batch)

    def wait(self) -> None:
        assert self._came.wait(GUARD_S), "nobody writes"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(engine: DownloadEngine) -> Iterator[Callable[[], Gate]]:
    """``gate()``: have the next write wait."""
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate(engine))
        return made[-1]

    yield make
    for each in made:
        each.open()


def wanted() -> Iterator[Wanted]:
    return (Wanted(number, "A Song", f"{number}.flac") for number in range(BURST))


def test_many_dispatched_at_once_are_one_commit(engine: DownloadEngine, commits: list[str]) -> None:
    engine.register_source("tidal")
    engine.pause("tidal")
    engine._system.store.ask(m.Sync())
    commits.clear()
    assert len(engine.worker.dispatch_many("tidal", wanted(), lands)) == BURST
    assert len(commits) == 1


def test_ends_that_come_while_the_disk_is_busy_share_commits(
    engine: DownloadEngine, commits: list[str], gate: Callable[[], Gate]
) -> None:
    over, done = threading.Event(), itertools.count(1)

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        if next(done) == BURST:
            over.set()
        return "/x"

    engine.register_source("tidal")
    engine.pause("tidal")
    engine.register_source("tidal", impl=impl)
    ids = engine.worker.dispatch_many("tidal", wanted())
    engine._system.store.ask(m.Sync())
    commits.clear()
    held = gate()
    engine.resume("tidal")
    held.wait()
    assert over.wait(GUARD_S), "they do not end while the disk is busy"
    held.open()
    records = list(engine.as_completed(ids, GUARD_S))
    assert [record["state"] for record in records] == ["Completed, Succeeded"] * BURST
    assert 1 <= len(commits) <= 2 + 2 * BURST // BACKLOG


def lands(*_: Any) -> str:
    return "/x"
