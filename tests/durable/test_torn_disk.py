"""A durable store, torn in the middle of a step: nobody waits for ever, and the disk says what memory says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Final, TypeAlias

import pytest
from tests.shells.tearing import GUARD_S, STRIDE, TORN, Tear, Torn, refused, sweep

from haulier import (
    DownloadEngine,
    RestartPolicy,
    Retention,
    RetryPolicy,
    SourcePolicy,
    State,
    StoreUnavailable,
)
from haulier._engine import messages as m
from haulier._engine.core.restarts import Restarts
from haulier._engine.shells.store import StoreActor
from haulier.records import OPEN_PHASES

MOST: Final = 3
"""Records that retention keeps."""

ONCE_MORE: Final = RetryPolicy(stop=lambda state: state.attempt_number > 1, wait=lambda _: 0.0)
ROOMS: Final = (
    "shells/store.py",
    "shells/durable.py",
    "core/ledger.py",
    "core/table.py",
    "core/retention.py",
    "core/entry.py",
    "core/journal.py",
)
STRIDES: Final = 5 * STRIDE
"""Where somebody is torn, an asker finds that out after a second."""

Play: TypeAlias = Callable[[Tear, Path], None]

pytestmark = TORN


@pytest.fixture
def torn_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Play], int]:
    """``torn_anywhere(play)``: play with a new file and a store that is torn a little later each time."""

    def torn_anywhere(play: Play) -> int:
        numbers = count()

        def once(tear: Tear) -> None:
            with monkeypatch.context() as patched:
                tear.trace(patched, StoreActor)
                play(tear, tmp_path / f"{next(numbers)}.db")

        return sweep(ROOMS, once, STRIDES)

    return torn_anywhere


def test_a_durable_store_that_is_torn_anywhere_leaves_nobody_waiting_and_nothing_untrue(
    torn_anywhere: Callable[[Play], int],
) -> None:
    assert torn_anywhere(want_everything) > 5000


def want_everything(tear: Tear, path: Path) -> None:
    with opened(path) as engine:
        engine.register_source("tidal", impl=lambda *_: "/x")
        assert refused(engine) <= 1
        tear.over = True
        for n in range(MOST + 1):
            after = engine.worker.dispatch("tidal", n, "n", "f")
            assert engine.wait(after, GUARD_S)["state"] == State.SUCCEEDED
        told = settled(engine)
        source, ledger = engine._system.mailboxes["tidal"].source, engine._system.ledger
        assert (source.attempts.in_flight, source.queue.pending, ledger.table.watches.callbacks) == ({}, {}, {})
        assert (len(told), engine._system.store.failure) == (MOST, None)
    with opened(path) as again:
        assert settled(again) == told


def test_the_end_of_a_failure_is_on_disk_wherever_a_durable_store_is_torn(
    torn_anywhere: Callable[[Play], int],
) -> None:
    assert torn_anywhere(fail_twice) > 1000


def fail_twice(tear: Tear, path: Path) -> None:
    """Each start has been written down before it fails."""

    def fails(*_: object) -> str:
        engine._system.store.ask(m.OnDisk())
        raise OSError("reset")

    with opened(path) as engine:
        engine.register_source("tidal", SourcePolicy(retry=ONCE_MORE), fails)
        try:
            engine.wait(engine.worker.dispatch("tidal", 1, "n", "f"), GUARD_S)
        except (StoreUnavailable, Torn):
            pass
        tear.over = True
        told = settled(engine)
    with opened(path) as again:
        assert settled(again) == told


@contextmanager
def opened(path: Path) -> Iterator[DownloadEngine]:
    with DownloadEngine(store=str(path), retention=Retention(max_terminal=MOST)) as engine:
        engine._system.store.restarts = Restarts(RestartPolicy(wait=lambda _: 0.0))
        yield engine


def settled(engine: DownloadEngine) -> dict[str, tuple[str, str | None]]:
    """The states of all downloads and what was wrong with them, once they are over."""
    until = monotonic() + GUARD_S
    while any(each.get("phase") in OPEN_PHASES for each in engine.get_all_downloads()):
        assert monotonic() < until, engine.get_all_downloads()
        threading.Event().wait(0.001)
    return {each["id"]: (each["state"], each.get("error")) for each in engine.get_all_downloads() if "id" in each}


def test_what_a_dying_store_had_yet_to_answer_is_no_download(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written, and its dispatch raises all the same: nobody has its id."""
    engine.register_source("s", impl=lambda *_: "/x")
    engine.pause("s")

    def tear() -> None:
        monkeypatch.undo()
        raise SystemExit(3)

    monkeypatch.setattr(engine._system.store, "_worked", tear)
    with pytest.raises(StoreUnavailable, match="died while it wrote"):
        engine.worker.dispatch("s", 1, "n", "f")
    engine._system.store.ask(m.Sync())
    assert engine.get_all_downloads() == []
    assert engine.worker.dispatch("s", 2, "n", "f") == engine.get_all_downloads()[0]["id"]
