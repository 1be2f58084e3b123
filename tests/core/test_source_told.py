"""What a source tells the store of an end, to the letter: whose it is, in whose hands it was, why and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tenacity

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, Outcome, PutBack, StoppedEarly
from haulier.policies import RestartPolicy

ON = 1_000_000.0
Make = Callable[..., Any]


def started(it: Any, download_id: str = "a") -> Any:
    it.put(download_id)
    it.source.slots.live += 1
    return it.start()


def fail(download_id: str, transfer: Any, error: str, error_type: str, on: float = ON) -> m.Moved:
    return m.Moved("fail", "tidal", download_id, transfer, {"error": error, "error_type": error_type}, on)


# ---- what waits ------------------------------------------------------------------------------------------------------


def test_a_cancel_of_what_waits(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.cancel("a", ON)
    assert it.store[-1] == m.Moved("cancel", "tidal", "a", None, None, ON)


def test_the_end_of_the_engine(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.close(ON)
    assert it.store[-1] == fail("a", None, "engine closed", "EngineClosed")


def test_going_down(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.go_down("broken", ON)
    assert it.store[-1] == fail("a", None, "source down: broken", "SourceDown")


def test_going_down_by_too_many_crashes(make: Make) -> None:
    it = make(restart=RestartPolicy(intensity=0))
    transfer = started(it)
    it.put("b")
    it.crash(transfer, SystemExit("gone"), 10.0)
    assert it.store[-1] == fail("b", None, "source down: more than 0 restarts within 5 s", "SourceDown")


def test_going_down_by_too_many_zombies(make: Make) -> None:
    it = make(timeout=10.0, max_zombies=0)
    transfer = started(it)
    it.put("b")
    it.source.give_up(transfer, "timed out", "TimeoutError", 10.0, ON)
    assert it.store[-1] == fail("b", None, "source down: 1 hung impls, more than max_zombies allows", "SourceDown")


def test_a_crash_that_takes_the_queue_along(make: Make) -> None:
    it = make(on_crash="error_queued")
    transfer = started(it)
    it.put("b")
    it.crash(transfer, SystemExit("gone"), 10.0)
    assert it.store[-1] == fail("b", None, "worker crash: gone", "SystemExit")


# ---- what runs -------------------------------------------------------------------------------------------------------


def test_a_cancel_of_what_runs(make: Make) -> None:
    it = make()
    transfer = started(it)
    it.source.cancel("a", ON)
    assert it.store[-1] == m.Moved("cancel", "tidal", "a", transfer, None, ON)


def test_a_crash(make: Make) -> None:
    it = make()
    transfer = started(it)
    it.crash(transfer, SystemExit("gone"), 10.0)
    assert it.store[-1] == fail("a", transfer, "worker crash: gone", "SystemExit")


def test_a_run_that_was_given_up_on(make: Make) -> None:
    it = make(timeout=10.0)
    transfer = started(it)
    it.source.give_up(transfer, "timed out", "TimeoutError", 10.0, ON)
    assert it.store[-1] == fail("a", transfer, "timed out", "TimeoutError")


@pytest.mark.parametrize("outcome", [BackOff(1.0, None, None), PutBack(1.0), StoppedEarly()])
@pytest.mark.parametrize(
    ("kind", "error", "error_type"),
    [("down", "source down: broken", "SourceDown"), ("closed", "engine closed", "EngineClosed")],
)
def test_what_would_have_gone_on_at_a_source_that_ended(
    make: Make, outcome: Outcome, kind: str, error: str, error_type: str
) -> None:
    it = make()
    transfer = started(it)
    it.source.go_down("broken", ON) if kind == "down" else it.source.close(ON)
    it.source.attempts.settle(transfer, outcome, 1.0, ON)
    assert it.store[-1] == fail("a", transfer, error, error_type)


def test_what_failed_at_a_source_that_ended_says_so_itself(make: Make) -> None:
    it = make()
    transfer = started(it)
    it.source.close(ON)
    it.source.attempts.settle(transfer, BackOff(1.0, "reset", "OSError"), 1.0, ON)
    assert it.store[-1] == fail("a", transfer, "reset", "OSError")


def test_the_landing_of_the_one_that_was_tried_alone(make: Make) -> None:
    it = make()
    it.source.attempts.settle(started(it), PutBack(8.0), 0.0, ON)
    landed = m.Succeeded(it.start(8.0), "x")
    it.source.attempts.settle(landed.transfer, landed, 9.0, ON)
    assert it.store[-1] is landed
    assert landed.on == ON


# ---- policies --------------------------------------------------------------------------------------------------------


def test_the_restart_policy_sees_why_a_slot_died(make: Make) -> None:
    seen = []

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        seen.append(state.outcome.exception())
        return 1.0

    it = make(restart=RestartPolicy(wait=wait))
    cause = SystemExit("gone")
    it.crash(started(it), cause, 10.0)
    assert seen == [cause]
