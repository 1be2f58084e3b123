"""Engines on a store of their own: started again on what one before them left, or on what a kill would have left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.waiting import GUARD_S

from haulier import DownloadEngine, StoreUnavailable
from haulier._engine import messages as m
from haulier._engine.storage.protocol import Batch, Storage
from haulier.verify import verify


class Meddler:
    """Between a store and its storage: counts what is written, and has it wait or fail. ``meddle(engine)``."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.batches: list[Batch] = []
        """What was written."""
        self.failing: Callable[[], BaseException] | None = None
        """What each write raises instead."""
        self.fails_late = False
        """Whether it raises that only once all is written, as where the connection is lost in the very commit."""
        self.tried = 0
        """Writes that failed."""
        self.arrived = Event()
        """Somebody writes."""
        self.gate = Event()
        """Set: nobody has to wait."""
        self.gate.set()

    def write(self, batch: Batch) -> None:
        self.arrived.set()
        assert self.gate.wait(GUARD_S), "nobody let the write go on"
        if self.failing is None or self.fails_late:
            self._storage.write(batch)
            self.batches.append(batch)
        if self.failing is not None:
            self.tried += 1
            raise self.failing()

    def fail(self, late: bool = False) -> None:
        self.fails_late = late
        self.failing = lambda: StoreUnavailable("the disk is full")

    def heal(self) -> None:
        self.failing = None

    def hold(self) -> None:
        """Have the next write wait for ``gate``."""
        self.gate.clear()
        self.arrived.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class Durable:
    """A store, and the engines on it, one after another."""

    def __init__(self, make_engine: Callable[..., DownloadEngine], folder: Path) -> None:
        self._make_engine, self._folder = make_engine, folder
        self._generation = 0
        self._engine: DownloadEngine | None = None

    @property
    def path(self) -> Path:
        return self._folder / f"haulier-{self._generation}.db"

    @property
    def trace(self) -> Path:
        return self.path.with_suffix(".trace")

    def open(self, **options: Any) -> DownloadEngine:
        """An engine on it. The one before it is closed, unless it was killed."""
        if self._engine is not None:
            self._engine.close(timeout=GUARD_S)
        self._engine = self._make_engine(store=self.path, **{"trace": self.trace, **options})
        return self._engine

    def settle(self) -> None:
        """Wait until all that was told is on disk."""
        assert self._engine is not None
        self._engine._system.store.ask(m.Sync())

    def kill(self) -> None:
        """From now on the store is what would be left, had the engine been killed in this moment."""
        assert self._engine is not None
        self.settle()
        killed = self.path
        self._generation += 1
        for name in (killed.name, f"{killed.name}-wal"):
            if (killed.parent / name).exists():
                shutil.copyfile(killed.parent / name, killed.parent / name.replace(killed.name, self.path.name))
        self._engine = None

    def reopen(self, **options: Any) -> DownloadEngine:
        """After a kill."""
        self.kill()
        return self.open(**options)

    def verify(self) -> None:
        for trace in sorted(self._folder.glob("haulier-*.trace")):
            with trace.open() as lines:
                verify(lines)


@pytest.fixture
def durable(make_engine: Callable[..., DownloadEngine], tmp_path: Path) -> Iterator[Durable]:
    """A store in a file. What its engines traced is verified once they are closed."""
    made = Durable(make_engine, tmp_path)
    yield made
    if made._engine is not None:
        made._engine.close(timeout=GUARD_S)
    made.verify()


@pytest.fixture
def engine(durable: Durable) -> DownloadEngine:
    """The first engine on it."""
    return durable.open()


@pytest.fixture(name="meddle")
def meddle_fixture() -> Callable[[DownloadEngine], Meddler]:
    """``meddle(engine)``: come between its store and its storage."""

    def meddle(engine: DownloadEngine) -> Meddler:
        store: Any = engine._system.store
        store.storage = meddler = Meddler(store.storage)
        return meddler

    return meddle
