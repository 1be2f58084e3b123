"""A signal or another thread interrupts a step: each caller that waits for the thread still gets an answer."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import CodeType, FrameType
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import GUARD_S, Gatekeeper

from haulier import DownloadEngine, State
from haulier._engine import messages as m
from haulier._engine.core.agenda import Agenda
from haulier._engine.shells.supervisor import SupervisorInbox
from haulier._threads.bell import Bell

CODES = [
    each.__code__ for each in (SupervisorInbox.get, SupervisorInbox.later, Agenda.first_due, Agenda.pop_due, Agenda.add)
]


pytestmark = pytest.mark.expect_errors


class Torn(BaseException):
    """Raised in the middle of a step."""


@contextmanager
def torn_at(step: int, codes: list[CodeType]) -> Iterator[None]:
    """Have ``Torn`` raised once, before bytecode number ``step`` of what this thread carries out of ``codes``."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code not in codes:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            left -= 1
            if left < 0:
                raise Torn  # which also ends the tracing
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def handled(step: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], bool]:
    """What a supervisor that is torn at ``step``, and then its successor, take off; and whether it came to that."""
    now, seen, torn = [0.0], list[Any](), False
    supervisor = SupervisorInbox()

    def wait(_: Bell, seconds: float | None) -> None:
        now[0] += seconds or 0.0
        supervisor.stopping = seconds is None  # nothing is left

    monkeypatch.setattr("haulier._engine.shells.supervisor.monotonic", lambda: now[0])
    monkeypatch.setattr(Bell, "wait", wait)
    supervisor.later(m.Wake("noted", 2.0))
    for message in MESSAGES:
        supervisor.tell(message)
    with torn_at(step, CODES):
        while True:
            try:
                message = supervisor.get().message
            except Torn:
                message, torn = supervisor.in_hand, True
            supervisor.in_hand = None
            if message is not None:
                seen.append(message)
            elif supervisor.stopping:
                return seen, torn


MESSAGES = [
    m.Hire("a"),
    m.Wake("later", 3.0),
    m.StoreHealthChanged(),
    m.Wake("due", -1.0),
    m.Wake("soon", 1.0),
    m.Hire("b"),
]


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="CPython 3.12 traces no opcodes of a frame at its call")
def test_a_supervisor_that_is_torn_at_any_bytecode_of_taking_a_message_leaves_it_to_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 0
    while True:
        seen, torn = handled(steps, monkeypatch)
        assert {m.Wake("noted", 2.0), *MESSAGES} == set(seen), f"torn at step {steps}"
        if not torn:
            break
        steps += 1
    assert len(seen) == len(MESSAGES) + 1  # once each, where nobody tears
    assert steps > 400


# ---- the store -------------------------------------------------------------------------------------------------------


def died(engine: DownloadEngine) -> bool:
    """Whether the store has died once, as is seen in ``GUARD_S`` at the latest."""
    until = monotonic() + GUARD_S
    while not engine._system.store.restarts.total and monotonic() < until:
        threading.Event().wait(0.001)
    return engine._system.store.restarts.total == 1


def tear_once(engine: DownloadEngine, message: type, error: BaseException) -> None:
    """Have ``error`` raised in the middle of the next message of that kind."""
    until = monotonic() + GUARD_S
    while not (engine._system.store.running or engine._system.closing):  # until then whoever asks applies, and is torn
        assert monotonic() < until
        threading.Event().wait(0.001)
    handlers = engine._system.ledger.handlers
    real = handlers[message]

    def tear(_: Any) -> None:
        handlers[message] = real
        raise error

    handlers[message] = tear


def test_who_reads_while_the_store_is_torn_hears_nothing_of_it(engine: DownloadEngine) -> None:
    engine.add_record("tidal", "own", {"n": 1})
    tear_once(engine, m.Sync, SystemExit(3))
    assert engine._system.store.ask(m.Sync()) is None
    assert engine.get_all_downloads() == [{"n": 1}]


def test_what_the_store_was_told_while_it_is_torn_is_made_good(engine: DownloadEngine) -> None:
    tear_once(engine, m.Succeeded, SystemExit(3))
    ids = [dispatch(engine, lambda *_: "/x", n) for n in range(3)]
    records = [each["state"] for each in engine.as_completed(ids, GUARD_S)]
    assert sorted(records) == sorted([State.ERRORED, State.SUCCEEDED, State.SUCCEEDED])
    assert engine._system.store.restarts.total == 0  # it is not its thread's to die of a message


def test_who_waits_for_what_the_store_had_yet_to_say_hears_it_from_its_successor(
    engine: DownloadEngine, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = engine._system.store
    download_id = dispatch(engine, gatekeeper)
    arriving = engine.as_completed([download_id], GUARD_S)

    def tear() -> None:
        monkeypatch.undo()
        raise SystemExit(3)

    monkeypatch.setattr(store, "_carry_out", tear)
    gatekeeper.open()
    assert next(arriving)["state"] == State.SUCCEEDED
    assert died(engine)


def test_a_signal_that_comes_while_a_caller_applies_is_the_callers(engine: DownloadEngine) -> None:
    engine.add_record("tidal", "own", {"state": "InProgress"})
    engine.close()
    tear_once(engine, m.Patch, KeyboardInterrupt())

    def write_and_read() -> None:
        engine.update_record("tidal", "own", {"state": "Aborted"})
        engine.get_record("tidal", "own")

    with pytest.raises(KeyboardInterrupt):
        write_and_read()
    engine.update_record("tidal", "own", {"state": "Errored"})
    assert engine.get_record("tidal", "own") == {"state": "Errored"}
