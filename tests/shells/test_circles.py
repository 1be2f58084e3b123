"""Waits that could go round in a circle: log handlers and finalizers that call the engine, on whichever thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.waiting import GUARD_S, Gatekeeper

from haulier import DownloadEngine
from haulier._engine import messages as m
from haulier._engine.shells import store as store_module


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """``call`` on a thread that keeps no interpreter alive, should it hang."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    return thread, results


class Asking(logging.Handler):
    """Once, and on its own thread only, the handler asks the engine for a record while the store wants to log."""

    def __init__(self, engine: DownloadEngine) -> None:
        super().__init__()
        self._engine = engine
        self.thread: threading.Thread | None = None
        self.inside, self.go = threading.Event(), threading.Event()
        self.found: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread() is self.thread and not self.inside.is_set():
            self.inside.set()
            assert self.go.wait(GUARD_S)
            self.found = self._engine.get_record("tidal", "theirs")


@pytest.fixture
def asking(engine: DownloadEngine) -> Iterator[Asking]:
    handler, logger = Asking(engine), logging.getLogger("haulier")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_a_log_handler_may_read_while_the_store_wants_to_log(engine: DownloadEngine, asking: Asking) -> None:
    engine.add_record("tidal", "theirs", {"n": 1})
    asking.thread = threading.Thread(target=engine.add_record, args=("tidal", "theirs", {"n": 2}), daemon=True)
    asking.thread.start()  # which warns: it is replaced
    assert asking.inside.wait(GUARD_S)
    store = engine._system.store
    store.tell(object())  # a dead letter: the store warns as well, and comes to wait for the handler
    store._bell.ring()
    while store._sayer is None:
        assert store.thread is not None
        store.thread.join(0.001)
    asking.go.set()
    asking.thread.join(GUARD_S)
    assert not asking.thread.is_alive()
    assert asking.found == {"n": 1}


class Finalized:
    """Its finalizer calls something: on the store's thread, where it is in a record that goes."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.inside, self.go = threading.Event(), threading.Event()
        self.done = threading.Event()
        self._signals = (self.inside, self.go, self.done)

    def __del__(self) -> None:
        inside, go, done = self._signals
        inside.set()
        if go.wait(GUARD_S):
            self._call()
            done.set()


def finalized_on_the_stores_thread(
    engine: DownloadEngine, call: Callable[[], object]
) -> tuple[threading.Event, threading.Event]:
    """Have ``call`` wait there to be called: until the first of the events. The second says that it has returned."""
    thing = Finalized(call)
    inside, go, done = thing._signals
    engine.add_record("finalized", "theirs", {"thing": thing, "state": "Errored"})
    del thing
    engine._system.store.ask(m.Sync())
    in_background(engine.clear_all_completed_downloads)
    assert inside.wait(GUARD_S)
    return go, done


def test_a_finalizer_may_cancel_while_somebody_cancels_unless(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal")
    engine.pause("tidal")
    download_id = engine.worker.dispatch("tidal", 1, "n", "f", gatekeeper)
    go, done = finalized_on_the_stores_thread(engine, lambda: engine.cancel_download("of nobody"))
    thread, results = in_background(
        lambda: engine.update_record_unless_state("tidal", download_id, {"state": "Cancelled"}, ("Errored",))
    )
    while not engine._system.store.backlog:
        thread.join(0.001)  # it is about to ask
    go.set()
    assert done.wait(GUARD_S)
    thread.join(GUARD_S)
    assert results == [True]
    assert engine.wait(download_id, GUARD_S)["state"] == "Cancelled"


def test_the_store_says_who_applies_before_a_signal_handler_can_ask(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler, or a finalizer, may run after any call: there is to be none between the lock and the name."""
    store = engine._system.store
    anonymous: list[str] = []

    def get_ident() -> int:
        if store._writing._is_owned() and store._drainer is None:  # type: ignore[attr-defined]
            anonymous.append(threading.current_thread().name)
        return threading.get_ident()

    monkeypatch.setattr(store_module, "get_ident", get_ident)
    for n in range(20):
        engine.add_record("tidal", "theirs", {"n": n})
        assert engine.get_record("tidal", "theirs") == {"n": n}
    assert anonymous == []


def test_an_engine_that_cannot_be_made_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    start, stores = threading.Thread.start, []

    def failing(thread: threading.Thread) -> None:
        if thread.name == "haulier-supervisor":
            raise RuntimeError("can't start new thread")
        stores.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        DownloadEngine()
    monkeypatch.undo()
    assert [thread.name for thread in stores] == ["haulier-store"]
    stores[0].join(GUARD_S)
    assert not stores[0].is_alive()
