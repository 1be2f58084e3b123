"""Actors that die where they should not: the supervisor, the store, a slot between two downloads, a thread unheard."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper, wait_until

import haulier
from haulier import DownloadEngine, RestartPolicy, SourcePolicy, State
from haulier._engine import messages as m
from haulier._engine.shells.slot import SourceActor
from haulier._engine.shells.supervisor import SupervisorActor

AT_ONCE = RestartPolicy(intensity=1000, wait=lambda _: 0.0)

pytestmark = pytest.mark.expect_errors


def kill(thread: threading.Thread | None) -> threading.Thread:
    """Have ``SystemExit`` raised in a thread, wherever it is, as soon as it runs again."""
    assert thread is not None
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)) == 1
    return thread


# ---- the supervisor --------------------------------------------------------------------------------------------------


def test_a_supervisor_that_dies_has_a_successor_that_loses_nothing(engine: DownloadEngine) -> None:
    system = engine._system
    for n in range(7):
        kill(system.supervisor.thread)
        ids = [dispatch(engine, lambda *_: "/x", source=f"round-{n}-{k}") for k in range(5)]  # each needs a slot hired
        assert [r["state"] for r in engine.as_completed(ids, 10)] == [State.SUCCEEDED] * 5
    assert system.supervisor.restarts.total > 0  # where it was at work, only that message failed, and was tried again
    assert {status["slots"] for status in engine.stats().values()} == {1}


def test_what_is_on_the_agenda_of_a_dead_supervisor_is_still_done(engine: DownloadEngine) -> None:
    fails = iter([OSError("not yet")])

    def fetch(*_: Any) -> str:
        for error in fails:
            raise error
        return "/x"

    retry = haulier.RetryPolicy(stop=lambda state: state.attempt_number > 2, wait=lambda _: 0.2)
    engine.register_source("tidal", SourcePolicy(retry=retry))
    download_id = dispatch(engine, fetch)
    wait_until(lambda: engine.get_record("tidal", download_id)["phase"] == "backing_off", "no back-off")  # type: ignore[index]
    kill(engine._system.supervisor.thread)
    assert engine.wait(download_id, 10)["attempt"] == 2


@pytest.mark.parametrize("failures", [1, 2, 5])
@pytest.mark.parametrize("message", [m.Hire, m.Ended, m.Wake, m.Retry, m.Guard])
def test_a_message_whose_handling_fails_is_handled_again(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch, message: type, failures: int
) -> None:
    """After three tries it is given up on, and the audit makes good what it was for."""
    left = iter(range(failures))
    real = SupervisorActor._handle

    def handle(self: SupervisorActor, told: Any) -> None:
        if isinstance(told, message):
            for _ in left:
                raise MemoryError
        real(self, told)

    monkeypatch.setattr(SupervisorActor, "_handle", handle)
    crashes = iter([haulier.SourceCrashed("gone"), OSError("not yet")])

    def fetch(*_: Any) -> str:
        for error in crashes:
            raise error
        return "/x"

    retry = haulier.RetryPolicy(stop=lambda state: state.attempt_number > 2, wait=lambda _: 0.01)
    engine.register_source("tidal", SourcePolicy(timeout=20, retry=retry, restart=AT_ONCE))
    ids = [dispatch(engine, fetch, n) for n in range(4)]
    records = {r["id"]: r for r in engine.as_completed(ids, 15)}
    assert [records[i]["state"] for i in ids] == [State.ERRORED] + [State.SUCCEEDED] * 3
    assert records[ids[0]]["error"] == "worker crash: gone"
    assert (records[ids[1]]["attempt"], records[ids[2]]["attempt"]) == (2, 1)


def test_what_is_looked_after_is_so_once_however_often_that_is_told_again(
    engine: DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    engine.register_source("tidal", SourcePolicy(stall_timeout=1.0, timeout=60.0))
    download_id = dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    supervisor = engine._system.supervisor
    for _ in range(20):
        supervisor.tell(m.Audit(0.0, thorough=True))

    def guards() -> list[m.Guard]:
        return [due for _, _, due in supervisor._agenda._heap.copy() if isinstance(due, m.Guard)]

    def looked_at_anew() -> bool:
        engine.update_record("tidal", download_id, {"transferred": next(steps)})
        return [each.transfer.look_at for each in guards()] == [each.at for each in guards()]

    steps = iter(range(1_000_000))
    wait_until(lambda: len(guards()) > 10, "not told")
    wait_until(lambda: looked_at_anew() and len(guards()) == 1, "looked after by many")
    gatekeeper.open()
    assert engine.wait(download_id, 10)["state"] == State.SUCCEEDED


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(3)])
def test_who_was_counted_and_could_not_be_made_is_hired_all_the_same(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    left = iter([True])

    def make(*about: Any) -> SourceActor:
        for _ in left:
            raise error
        return SourceActor(*about)

    monkeypatch.setattr("haulier._engine.shells.supervisor.SourceActor", make)
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED


def test_a_supervisor_that_is_dead_when_the_engine_closes_has_a_last_successor(engine: DownloadEngine) -> None:
    supervisor, killed = engine._system.supervisor, None
    for _ in range(7):  # so often that the next one would come after most of a second
        wait_until(lambda killed=killed: supervisor.thread is not killed and supervisor._bell.armed, "none new")  # type: ignore[misc]
        killed = kill(supervisor.thread)
        supervisor.tell(m.Audit(0.0))
    wait_until(lambda: supervisor.restarts.total == 7, "it lives")
    download_id = dispatch(engine, lambda *_: "/x")
    engine.close()
    assert supervisor.thread is not None
    assert not supervisor.thread.is_alive()
    assert engine.get_record("tidal", download_id)["phase"] in ("succeeded", "failed")  # type: ignore[index]


def raises(error: BaseException) -> Callable[..., str]:
    def fetch(*_: Any) -> str:
        raise error

    return fetch


# ---- the store -------------------------------------------------------------------------------------------------------


def test_a_store_that_dies_has_a_successor_that_loses_nothing(engine: DownloadEngine) -> None:
    system = engine._system
    before = system.store.thread
    kill(before)
    ids = [dispatch(engine, lambda *_: "/x", n) for n in range(100)]
    assert {r["state"] for r in engine.as_completed(ids, 10)} == {State.SUCCEEDED}
    wait_until(lambda: system.store.running and system.store.thread is not before, "no successor")
    assert system.store.restarts.total == 1
    assert engine.stats()["tidal"]["succeeded"] == 100


def test_a_store_that_keeps_dying_is_given_up_on_and_the_engine_says_so(
    engine: DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    store = engine._system.store
    running, queued = dispatch(engine, gatekeeper, 1), dispatch(engine, gatekeeper, 2)
    gatekeeper.wait_inside(1)
    while engine._system.is_open:
        if store.running:
            kill(store.thread)
            engine.get_all_downloads()
            engine.update_record("tidal", running, {"state": "Wakes", "n": 1})
            engine.remove_record("tidal", "unknown")
    assert store.restarts.total == 3
    with pytest.raises(haulier.StoreUnavailable):
        dispatch(engine, gatekeeper, 3)
    gatekeeper.open()
    wait_until(lambda: not engine._system.mailboxes["tidal"].source.attempts.in_flight, "they still run")
    states = [engine.get_record("tidal", each)["state"] for each in (running, queued)]  # type: ignore[index]
    assert states == [State.SUCCEEDED] * 2


def test_what_a_message_told_of_that_could_not_be_applied_is_made_good(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = engine._system.ledger
    real = ledger.handlers[m.Succeeded]

    def out_of_memory(_: Any) -> None:
        ledger.handlers[m.Succeeded] = real
        raise MemoryError

    ledger.handlers[m.Succeeded] = out_of_memory
    ids = [dispatch(engine, lambda *_: "/x", n) for n in range(3)]
    records = {r["id"]: r for r in engine.as_completed(ids, 10)}
    assert [records[i]["state"] for i in ids].count(State.SUCCEEDED) == 2
    lost = next(r for r in records.values() if r["state"] == State.ERRORED)
    assert (lost["error"], lost["error_type"]) == ("interrupted: in the middle of a step", "Interrupted")


# ---- slots -----------------------------------------------------------------------------------------------------------


def test_a_slot_that_dies_while_it_waits_costs_no_download(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal", SourcePolicy(concurrency=3, restart=AT_ONCE))
    mailbox = engine._system.mailbox("tidal")
    for n in range(20):
        ids = [dispatch(engine, gatekeeper, n) for _ in range(6)]
        gatekeeper.wait_inside(3)
        gatekeeper.release(6)
        assert {r["state"] for r in engine.as_completed(ids, 10)} == {State.SUCCEEDED}
        for slot in mailbox.slots.copy():
            wait_until(lambda slot=slot: slot.in_hand is None, "it is not idle")  # type: ignore[misc]
            kill(slot.thread)
    assert gatekeeper.peak == 3
    assert mailbox.source.slots.restarts.total > 20
    wait_until(lambda: engine.stats()["tidal"]["slots"] == len(mailbox.slots), "miscounted")


def test_a_thread_that_dies_without_a_word_is_noticed(engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    mute = iter([True])
    real = SourceActor.on_end

    def on_end(self: SourceActor) -> None:
        if self.left or not next(mute, False):
            real(self)

    monkeypatch.setattr(SourceActor, "on_end", on_end)
    engine.register_source("tidal", SourcePolicy(restart=AT_ONCE))
    crashed = dispatch(engine, raises(SystemExit(1)))
    after = dispatch(engine, lambda *_: "/x")
    (slot,) = engine._system.mailboxes["tidal"].slots
    slot.thread.join(10)
    assert engine.get_record("tidal", crashed)["phase"] == "running"  # type: ignore[index]
    wait_until(lambda: engine._system.supervisor.audit_at is not None, "nobody would look")
    engine._system.supervisor.tell(m.Audit(0.0))
    assert engine.wait(crashed, 10)["error"] == "worker crash: 1"
    assert engine.wait(after, 10)["state"] == State.SUCCEEDED
    assert engine.stats()["tidal"]["restarts"] == 1
