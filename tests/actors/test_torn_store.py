"""The store, torn in the middle of a step: whoever asks is answered, whoever waits hears, and records are true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from tests.actors.tearing import STRIDE, Tear, Torn

from haulier import DownloadEngine, RestartPolicy, Retention, State, StoreUnavailable, UnknownDownload
from haulier.actors.store import StoreActor
from haulier.core.restarts import Restarts
from haulier.records import TERMINAL_PHASES

GUARD_S = 10.0
MOST: Final = 3
"""Records that retention keeps."""

ROOMS: Final = ("actors/store.py", "core/ledger.py", "core/entry.py", "core/watches.py")

pytestmark = [
    pytest.mark.expect_errors,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),  # torn in its very last step
]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("listens", [False, True])
def test_a_store_that_is_torn_anywhere_leaves_nobody_waiting(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    places = 0
    while play(tear := Tear(places * STRIDE, ROOMS), listens, monkeypatch):
        places += 1
    assert tear.where is None
    print(f"torn at {places} of {places * STRIDE} bytecodes")
    assert places * STRIDE > 2000


def play(tear: Tear, listens: bool, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A store that is torn while everybody wants something of it; whether it was."""
    with monkeypatch.context() as patched:
        tear.trace(patched, StoreActor)
        with DownloadEngine(retention=Retention(max_terminal=MOST)) as engine:
            engine._system.store.restarts = Restarts(RestartPolicy(wait=lambda _: 0.0))
            if listens:
                engine.subscribe(lambda _: None)
            engine.register_source("tidal", impl=lambda *_: "/x")
            assert refused(engine) <= 1
            tear.over = True
            for n in range(MOST + 1):
                after = engine.worker.dispatch("tidal", n, "n", "f")
                assert engine.wait(after, GUARD_S)["state"] == State.SUCCEEDED
            source, ledger = engine._system.mailboxes["tidal"].source, engine._system.ledger
            assert (source.in_flight, source.pending, ledger.watches.callbacks) == ({}, {}, {})
            phases = [each.get("phase") for each in engine.get_all_downloads()]
            assert sum(each in TERMINAL_PHASES for each in phases) == MOST
    return tear.where is not None


def refused(engine: DownloadEngine) -> int:
    """Want everything that one may want of a store; how often that was told that it died."""
    ids = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(5)]
    calls: list[Callable[[], object]] = [
        lambda: engine.add_record("own", "own", {"state": "InProgress"}),
        lambda: engine.update_record("tidal", ids[0], {"state": "Mine", "n": 1}),
        lambda: engine.update_record_unless_state("own", "own", {"n": 1}, ("Errored",)),
        lambda: engine.cancel_download(ids[1]),
        lambda: engine.wait(ids[2], GUARD_S),
        lambda: engine.remove_record("tidal", ids[3]),
        lambda: list(engine.as_completed(ids[4:], GUARD_S)),
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
