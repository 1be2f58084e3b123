"""The store, torn in the middle of a step: whoever asks is answered, whoever waits hears, and records are true."""

from __future__ import annotations

from typing import Final

import pytest
from tests.shells.tearing import GUARD_S, TORN, Tear, refused, sweep

from haulier import DownloadEngine, RestartPolicy, Retention, State
from haulier._engine.core.restarts import Restarts
from haulier._engine.shells.store import StoreActor
from haulier.records import TERMINAL_PHASES

MOST: Final = 3
"""Records that retention keeps."""

ROOMS: Final = (
    "shells/store.py",
    "core/ledger.py",
    "core/table.py",
    "core/retention.py",
    "core/entry.py",
    "core/watches.py",
)

pytestmark = TORN


@pytest.mark.parametrize("listens", [False, True])
def test_a_store_that_is_torn_anywhere_leaves_nobody_waiting(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep(ROOMS, lambda tear: play(tear, listens, monkeypatch)) > 2000


def play(tear: Tear, listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is torn while everybody wants something of it."""
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
            assert (source.attempts.in_flight, source.queue.pending, ledger.table.watches.callbacks) == ({}, {}, {})
            phases = [each.get("phase") for each in engine.get_all_downloads()]
            assert sum(each in TERMINAL_PHASES for each in phases) == MOST
