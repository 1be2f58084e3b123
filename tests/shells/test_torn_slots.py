"""Slots that are torn in the middle of a step: an audit goes by what is, and no download waits for ever."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any, Final

import pytest
from tests.shells.tearing import GUARD_S, TORN, Tear, sweep

from haulier import DownloadEngine, RestartPolicy, RetryPolicy, SourcePolicy, State, Transfer
from haulier._engine import messages as m
from haulier._engine.core.attempts import Attempts
from haulier._engine.shells import supervisor
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.slot import SourceActor
from haulier.records import TERMINAL_PHASES

ROOMS: Final = (
    "shells/mailbox.py",
    "shells/outlet.py",
    "shells/intake.py",
    "shells/slot.py",
    "core/attempts.py",
    "core/slots.py",
    "core/source.py",
    "core/queue.py",
    "core/gate.py",
)
POLICIES: Final[dict[str, dict[str, Any]]] = {
    "one": {},
    "two, spaced and guarded": {"concurrency": 2, "delay": 0.001, "timeout": 60},
}

pytestmark = TORN


@pytest.mark.parametrize("kind", POLICIES)
def test_a_slot_that_is_torn_anywhere_costs_at_most_the_two_downloads_that_it_turns_from_and_to(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "AUDIT_S", 0.02)
    policy = SourcePolicy(
        restart=RestartPolicy(1000, wait=lambda _: 0.0),
        retry=RetryPolicy(stop=lambda state: state.attempt_number > 1, wait=lambda _: 0.001),
        **POLICIES[kind],
    )
    assert sweep(ROOMS, lambda tear: play(tear, policy, monkeypatch)) > 1000


def test_what_an_audit_makes_good_is_gone_on_with_at_once(engine: DownloadEngine) -> None:
    mailbox = engine._system.mailbox("tidal")
    mailbox.source.slots.live = 1  # whoever was counted is not there
    download_id = engine.worker.dispatch("tidal", 1, "n", "f", lambda *_: "/x")
    engine._system.supervisor.tell(m.Audit(0.0, thorough=True))
    assert engine.wait(download_id, GUARD_S)["state"] == State.SUCCEEDED


def test_what_a_slot_was_torn_out_of_is_made_good_also_where_that_fails_at_first(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = engine._system.mailbox("tidal")
    takes, rights = iter([True]), iter([True])

    def take(now: float, on: float) -> Any:
        taken = Attempts.take(mailbox.source.attempts, now, on)
        if isinstance(taken, Transfer):
            for _ in takes:
                raise MemoryError
        return taken

    def repair(unfinished: list[str]) -> list[str]:
        for _ in rights:
            raise MemoryError
        return Mailbox.repair(mailbox, unfinished)

    monkeypatch.setattr(mailbox.source.attempts, "take", take)
    monkeypatch.setattr(mailbox, "repair", repair)
    engine.register_source("tidal", SourcePolicy(restart=RestartPolicy(1000, wait=lambda _: 0.0)))
    download_id = engine.worker.dispatch("tidal", 1, "n", "f", lambda *_: "/x")
    assert engine.wait(download_id, GUARD_S)["error_type"] == "Interrupted"


def play(tear: Tear, policy: SourcePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some downloads at a source, one of whose slots is torn."""
    failed: list[str] = []

    def fetch(download_id: str, target_id: Any, name: str) -> str:
        if target_id == "fails" and download_id not in failed:
            failed.append(download_id)
            raise OSError("reset")
        return "/x"

    with monkeypatch.context() as patched, DownloadEngine(idle_timeout=0.02) as engine:
        tear.trace(patched, SourceActor)
        engine.register_source("tidal", policy, fetch)
        ids = [engine.worker.dispatch("tidal", target, "n", "f") for target in ("lands", "fails", "lands", "lands")]
        states = [engine.wait(each, GUARD_S)["state"] for each in ids]
        tear.over = True
        after = engine.worker.dispatch("tidal", "lands", "n", "f")
        assert engine.wait(after, GUARD_S)["state"] == State.SUCCEEDED
        assert states.count(State.SUCCEEDED) >= 2
        mailbox = engine._system.mailboxes["tidal"]
        source, until = mailbox.source, monotonic() + GUARD_S
        while source.slots.live != len(mailbox.slots):
            assert monotonic() < until, f"miscounted: {mailbox.slots}"
            threading.Event().wait(0.001)
        assert (source.attempts.in_flight, source.gate.claims, source.slots.zombies) == ({}, 0, 0)
        assert (source.queue.pending, source.queue.tried) == ({}, {})
        assert {each["phase"] for each in engine.get_all_downloads()} <= TERMINAL_PHASES
