"""A durable store, torn in the middle of a step: nobody waits for ever, and the disk says what memory says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import pytest
from tests.actors.tearing import STRIDE, Tear, Torn

from haulier import DownloadEngine, RestartPolicy, Retention, State, StoreUnavailable, UnknownDownload
from haulier import messages as m
from haulier.actors.store import StoreActor
from haulier.core.restarts import Restarts
from haulier.records import OPEN_PHASES

GUARD_S = 10.0
MOST: Final = 3
"""Records that retention keeps."""

ROOMS: Final = ("actors/store.py", "actors/durable.py", "core/ledger.py", "core/entry.py", "core/journal.py")
STRIDES: Final = 5 * STRIDE
"""Where somebody is torn, an asker finds that out after a second."""

pytestmark = [
    pytest.mark.expect_errors,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),  # torn in its very last step
]


@pytest.mark.timeout(1800)
def test_a_durable_store_that_is_torn_anywhere_leaves_nobody_waiting_and_nothing_untrue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = 0
    while play(tear := Tear(places * STRIDES, ROOMS), tmp_path / f"{places}.db", monkeypatch):
        places += 1
    assert tear.where is None
    print(f"torn at {places} of {places * STRIDES} bytecodes")
    assert places * STRIDES > 5000


def play(tear: Tear, path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A store that is torn while everybody wants something of it; whether it was."""
    with monkeypatch.context() as patched:
        tear.trace(patched, StoreActor)
        with opened(path) as engine:
            engine.register_source("tidal", impl=lambda *_: "/x")
            assert refused(engine) <= 1
            tear.over = True
            for n in range(MOST + 1):
                after = engine.worker.dispatch("tidal", n, "n", "f")
                assert engine.wait(after, GUARD_S)["state"] == State.SUCCEEDED
            told = settled(engine)
            source, ledger = engine._system.mailboxes["tidal"].source, engine._system.ledger
            assert (source.in_flight, source.pending, ledger.watches.callbacks) == ({}, {}, {})
            assert (len(told), engine._system.store.failure) == (MOST, None)
        with opened(path) as again:
            assert settled(again) == told
    return tear.where is not None


@contextmanager
def opened(path: Path) -> Iterator[DownloadEngine]:
    with DownloadEngine(store=str(path), retention=Retention(max_terminal=MOST)) as engine:
        engine._system.store.restarts = Restarts(RestartPolicy(wait=lambda _: 0.0))
        yield engine


def settled(engine: DownloadEngine) -> dict[str, str]:
    """The states of all downloads, once they are over."""
    until = monotonic() + GUARD_S
    while any(each.get("phase") in OPEN_PHASES for each in engine.get_all_downloads()):
        assert monotonic() < until, engine.get_all_downloads()
        threading.Event().wait(0.001)
    return {each["id"]: each["state"] for each in engine.get_all_downloads() if "id" in each}


def refused(engine: DownloadEngine) -> int:
    """Want everything that one may want of a store; how often that was told that it died."""
    ids: list[str] = []
    dispatches = [lambda n=n: ids.append(engine.worker.dispatch("tidal", n, "n", "f")) for n in range(5)]
    calls: list[Callable[[], object]] = [
        *dispatches,
        lambda: engine.add_record("own", "own", {"state": "InProgress"}),
        lambda: engine.update_record("tidal", ids[0], {"state": "Mine", "n": 1}),
        lambda: engine.update_record_unless_state("own", "own", {"n": 1}, ("Errored",)),
        lambda: engine.cancel_download(ids[1]),
        lambda: engine.wait(ids[2], GUARD_S),
        lambda: engine.remove_record("tidal", ids[3]),
        lambda: list(engine.as_completed(ids[3:], GUARD_S)),
        lambda: engine.clear_all_completed_downloads(),
    ]
    many = 0
    for call in calls:
        try:
            call()
        except UnknownDownload:
            pass  # retention has let it go
        except (StoreUnavailable, Torn):  # the latter where it might have come of a caller's own object
            many += 1
    return many


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
