"""What a source does when a slot dies, or an impl hangs."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import tenacity

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, PutBack
from haulier._engine.core.status import Outlook
from haulier.policies import RestartPolicy, SourcePolicy

ON = 1_000_000.0
Make = Callable[..., Any]
REST = RestartPolicy(intensity=1, period=60.0, wait=tenacity.wait_fixed(2.0))


def running(it: Any, *download_ids: str, now: float = 0.0) -> list[Any]:
    it.put(*download_ids)
    it.source.slots.live += len(download_ids)
    return [it.start(now) for _ in download_ids]


# ---- crashes ---------------------------------------------------------------------------------------------------------


def test_a_crash_fails_what_was_in_hand_and_the_source_rests(make: Make) -> None:
    it = make(restart=REST, delay=1.0)
    (transfer,) = running(it, "a")
    it.put("b")
    it.crash(transfer, SystemExit("gone"), 10.0)
    assert it.ends() == [("fail", "a", "worker crash: gone")]
    assert it.store[-1].patch["error_type"] == "SystemExit"
    assert (it.source.slots.live, it.source.slots.resting, it.source.attempts.in_flight) == (0, True, {})
    assert it.supervisor == [m.Wake(it.source, 12.0, restart=True)]
    assert it.source.slots.resting_until == 12.0
    assert Outlook(it.source, 10.0).reason("b") == "restart"
    assert it.source.gate.opens_at() == 11.0
    assert (transfer.fenced, transfer.cancelled) == (True, True)


def test_delays_count_from_the_death_of_a_slot_not_from_its_burial(make: Make) -> None:
    it = make(restart=REST, delay=1.0, concurrency=2)
    (transfer,) = running(it, "a")
    it.put("b")
    it.source.attempts.slot_died(transfer, 10.0)
    assert it.start(10.0) == 11.0  # for the other slot too, and before anybody has buried this one
    it.source.crashed(transfer, SystemExit("gone"), 10.5, ON)
    assert it.source.gate.opens_at() == 11.0


def test_a_shorter_rest_that_is_told_of_after_a_longer_one_is_over_ends_as_well(make: Make) -> None:
    waits = iter([5.0, 1.0])
    it = make(restart=RestartPolicy(wait=lambda _: next(waits)), concurrency=2)
    first, second = running(it, "a", "b")
    it.source.crashed(first, SystemExit(), 10.0, ON)
    it.source.slots.resting = False  # at 15.0, by the supervisor
    it.source.crashed(second, SystemExit(), 15.1, ON, 10.1)
    assert it.source.slots.resting
    assert it.supervisor[-1] == m.Wake(it.source, it.source.slots.resting_until, restart=True)


def test_a_crash_between_two_downloads_counts_too(make: Make) -> None:
    it = make(restart=REST)
    it.source.slots.live = 1
    it.crash(None, SystemExit(), 10.0)
    assert (it.source.slots.live, it.source.slots.resting, it.ends()) == (0, True, [])


def test_a_slot_that_dies_after_its_report_frees_its_place(make: Make) -> None:
    it = make(restart=REST)
    (transfer,) = running(it, "a")
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 1.0, ON)
    it.crash(transfer, SystemExit(), 2.0)
    assert (it.source.slots.live, it.source.slots.zombies, it.source.slots.resting) == (0, 0, True)
    assert it.ends() == [("succeed", "a", None)]


def test_a_slot_that_dies_after_its_report_takes_nobody_elses_run_along(make: Make) -> None:
    it = make(restart=REST)
    (transfer,) = running(it, "a")
    it.source.attempts.settle(transfer, PutBack(1.0), 1.0, ON)
    again = it.start(2.0)
    it.crash(transfer, SystemExit(), 3.0)
    assert it.source.attempts.in_flight == {"a": again}
    assert it.ends() == [("put_back", "a", None)]


def test_a_crash_of_a_cancelled_run_leaves_it_cancelled(make: Make) -> None:
    it = make(restart=REST)
    (transfer,) = running(it, "a")
    it.source.cancel("a", ON)
    it.crash(transfer, SystemExit(), 10.0)
    assert it.ends() == [("cancel", "a", None)]
    assert it.source.slots.resting


def test_too_many_crashes_bring_it_down(make: Make) -> None:
    it = make(restart=REST)
    for download_id in "ab":
        (transfer,) = running(it, download_id)
        it.crash(transfer, SystemExit("gone"), 10.0)
    assert it.source.refusal.kind == "down"
    assert it.source.refusal.reason == "more than 1 restarts within 60 s"
    assert it.source.slots.restarts.total == 1


def test_one_that_is_revived_rests_no_longer_than_its_next_crash_says(make: Make) -> None:
    rests = iter([3600.0, 2.0])
    it = make(concurrency=2, restart=RestartPolicy(intensity=1, period=60.0, wait=lambda _: next(rests)))
    first, second = running(it, "a", "b")
    it.crash(first, SystemExit("gone"), 10.0)
    it.crash(second, SystemExit("gone"), 11.0)
    assert it.source.refusal.kind == "down"
    it.source.revive()
    (third,) = running(it, "c", now=20.0)
    it.crash(third, SystemExit("gone"), 20.0)
    assert (it.source.slots.resting, it.source.slots.resting_until) == (True, 22.0)


def test_on_crash_error_queued(make: Make) -> None:
    it = make(restart=REST, on_crash="error_queued")
    (transfer,) = running(it, "a")
    it.put("b")
    it.crash(transfer, SystemExit("gone"), 10.0)
    assert it.ends() == [("fail", "a", "worker crash: gone"), ("fail", "b", "worker crash: gone")]
    assert it.source.refusal is None


def test_a_crash_while_closing_restarts_nothing(make: Make) -> None:
    it = make(restart=REST)
    (transfer,) = running(it, "a")
    it.source.close(ON)
    it.crash(transfer, SystemExit("gone"), 10.0)
    assert (it.ends(), it.supervisor, it.source.slots.live) == ([("fail", "a", "worker crash: gone")], [], 0)


# ---- time-outs -------------------------------------------------------------------------------------------------------


def test_without_a_time_out_nobody_guards(make: Make) -> None:
    it = make()
    running(it, "a")
    assert it.supervisor == []


def test_a_time_out_is_looked_for_at_its_deadline(make: Make) -> None:
    it = make(timeout=10.0)
    (transfer,) = running(it, "a", now=5.0)
    assert it.supervisor == [m.Guard(it.source, transfer, 15.0)]
    assert transfer.deadline == 15.0
    assert it.source.overdue(transfer, 14.999) == 15.0
    assert it.source.overdue(transfer, 15.0) == "timed out after 10 s"


def test_a_stall_is_found_within_a_quarter_more_than_its_time(make: Make) -> None:
    it = make(stall_timeout=8.0, timeout=100.0)
    (transfer,) = running(it, "a")
    now = it.supervisor[0].at
    assert now == 2.0
    verdicts: list[Any] = []
    while not verdicts or isinstance(verdicts[-1], float):
        if now == 4.0:
            transfer.cell["transferred"] = 1
        verdicts.append(it.source.overdue(transfer, now))
        now = verdicts[-1] if isinstance(verdicts[-1], float) else now
    assert verdicts[-1] == "stalled: no progress for 8 s"
    assert 12.0 <= now <= 14.0


def test_who_never_gets_on_stalls_at_the_very_second_from_the_start(make: Make) -> None:
    it = make(stall_timeout=8.0)
    (transfer,) = running(it, "a", now=5.0)
    assert [it.source.overdue(transfer, now) for now in (7.0, 12.5)] == [9.0, 14.5]
    assert it.source.overdue(transfer, 13.0) == "stalled: no progress for 8 s"


def test_a_second_attempt_stalls_by_its_own_start(make: Make) -> None:
    it = make(stall_timeout=8.0)
    (transfer,) = running(it, "a")
    transfer.progress(5, 50)
    it.source.attempts.settle(transfer, BackOff(1.0, "reset", "OSError"), 20.0, ON)
    it.source.queue.retry_due("a")
    again = it.start(21.0)
    assert it.source.overdue(again, 28.5) == 30.5
    assert it.source.overdue(again, 29.0) == "stalled: no progress for 8 s"


def test_who_gets_on_is_not_given_up(make: Make) -> None:
    it = make(stall_timeout=8.0)
    (transfer,) = running(it, "a")
    for now in range(2, 200, 2):
        transfer.cell["progress"] = now / 2
        assert it.source.overdue(transfer, float(now)) == now + 2.0


def test_what_is_all_here_does_not_stall(make: Make) -> None:
    """A check of 100 GB, or a conversion, moves no bytes."""
    it = make(stall_timeout=8.0)
    (transfer,) = running(it, "a")
    transfer.progress(5, 5)
    for now in range(2, 200, 2):
        assert it.source.overdue(transfer, float(now)) == now + 2.0


def test_what_is_over_needs_no_guard(make: Make) -> None:
    it = make(timeout=10.0)
    (transfer,) = running(it, "a")
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 1.0, ON)
    assert it.source.overdue(transfer, 99.0) is None


def test_a_run_that_was_given_up_on_is_a_zombie_until_it_returns(make: Make) -> None:
    it = make(timeout=10.0, delay=1.0)
    (transfer,) = running(it, "a")
    it.put("b")
    it.source.give_up(transfer, "timed out", "TimeoutError", 10.0, ON)
    assert it.ends() == [("fail", "a", "timed out")]
    assert (it.source.slots.zombies, it.source.slots.live, it.source.attempts.in_flight) == (1, 0, {})
    assert (transfer.fenced, transfer.cancelled) == (True, True)
    assert it.start(10.0) == 11.0
    assert it.start(11.0).download_id == "b"
    assert it.source.attempts.settle(transfer, m.Succeeded(transfer, "late"), 20.0, ON) is False
    assert it.ends() == [("fail", "a", "timed out")]
    assert (it.source.slots.zombies, it.source.slots.live) == (0, 0)


def test_a_zombie_that_crashes_is_counted_off_and_restarts_nothing(make: Make) -> None:
    it = make(timeout=10.0)
    (transfer,) = running(it, "a")
    it.source.give_up(transfer, "timed out", "TimeoutError", 10.0, ON)
    it.crash(transfer, SystemExit(), 11.0)
    assert (it.source.slots.zombies, it.source.slots.live, it.source.slots.resting) == (0, 0, False)
    assert it.ends() == [("fail", "a", "timed out")]


def test_giving_up_on_a_cancelled_run_leaves_it_cancelled(make: Make) -> None:
    it = make(timeout=10.0)
    (transfer,) = running(it, "a")
    it.source.cancel("a", ON)
    it.source.give_up(transfer, "timed out", "TimeoutError", 10.0, ON)
    assert it.ends() == [("cancel", "a", None)]
    assert it.source.slots.zombies == 1


def test_more_zombies_than_allowed_bring_it_down(make: Make) -> None:
    it = make(timeout=10.0, max_zombies=1, concurrency=2)
    first, second = running(it, "a", "b")
    it.put("c")
    it.source.give_up(first, "timed out", "TimeoutError", 10.0, ON)
    assert not it.source.is_overstaffed
    it.source.give_up(second, "timed out", "TimeoutError", 10.0, ON)
    assert it.source.refusal.reason == "2 hung impls, more than max_zombies allows"
    assert it.ends()[-1] == ("fail", "c", "source down: 2 hung impls, more than max_zombies allows")


def test_a_policy_with_a_time_out_counts_from_the_next_start(make: Make) -> None:
    it = make(concurrency=2)
    running(it, "a")
    it.source.apply(SourcePolicy(concurrency=2, timeout=5.0))
    running(it, "b", now=1.0)
    assert [guard.at for guard in it.supervisor] == [6.0]


def test_a_policy_with_another_time_out_or_none(make: Make) -> None:
    it = make(concurrency=3, timeout=5.0)
    it.source.apply(SourcePolicy(concurrency=3))
    running(it, "a")
    assert it.supervisor == []
    it.source.apply(SourcePolicy(concurrency=3, stall_timeout=8.0))
    running(it, "b")
    assert [guard.at for guard in it.supervisor] == [2.0]


def test_a_policy_with_other_restarts_holds_from_the_next_crash(make: Make) -> None:
    it = make(restart=REST)
    it.source.apply(SourcePolicy(restart=RestartPolicy(intensity=0)))
    (transfer,) = running(it, "a")
    it.crash(transfer, SystemExit(), 10.0)
    assert it.source.refusal.kind == "down"


# ---- taken, and not called yet ---------------------------------------------------------------------------------------


def test_the_delay_counts_from_the_call_and_nothing_starts_before_it(make: Make) -> None:
    it = make(concurrency=2, delay=2.0)
    it.put("a", "b")
    transfer = it.source.attempts.take(10.0, ON)
    assert it.source.attempts.take(99.0, ON) == inf
    it.source.attempts.confirm(transfer, 10.5)
    it.source.attempts.confirm(transfer, 11.0)
    assert (transfer.started_at, it.start(11.0)) == (10.5, 12.5)
    assert it.start(12.5).download_id == "b"


def test_a_time_out_counts_from_the_call(make: Make) -> None:
    it = make(delay=2.0, timeout=10.0)
    it.put("a")
    transfer = it.source.attempts.take(10.0, ON)
    it.source.attempts.confirm(transfer, 10.5)
    assert transfer.deadline == 20.5
    assert it.source.overdue(transfer, 20.0) == 20.5
    assert it.source.overdue(transfer, 20.5) == "timed out after 10 s"


def test_jitter_is_drawn_by_what_the_source_was_given(make: Make) -> None:
    it = make(delay=2.0, jitter=(0.5, 1.5))
    (transfer,) = running(it, "a")
    it.put("b")
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 10.0, ON)
    assert it.start(10.0) == 11.0


@pytest.mark.parametrize("how", ["settle", "give up", "crash"])
def test_a_run_that_ends_before_its_call_was_told_keeps_nobody_waiting(make: Make, how: str) -> None:
    it = make(delay=2.0, restart=REST)
    it.put("a", "b")
    transfer = it.source.attempts.take(10.0, ON)
    match how:
        case "settle":
            it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 11.0, ON)
        case "give up":
            it.source.give_up(transfer, "timed out", "TimeoutError", 11.0, ON)
        case "crash":
            it.crash(transfer, SystemExit(), 11.0)
    it.source.attempts.confirm(transfer, 12.0)  # from a thread that did not hear of it
    assert it.start(11.0) == 13.0
    assert it.start(13.0).download_id == "b"


def test_the_back_off_counts_from_the_crash_not_from_the_burial(make: Make) -> None:
    it = make(restart=RestartPolicy(wait=tenacity.wait_fixed(3.0)))
    (transfer,) = running(it, "a")
    it.source.attempts.slot_died(transfer, 10.0)
    it.source.crashed(transfer, SystemExit("gone"), 12.0, ON, at=10.0)
    assert it.supervisor[-1] == m.Wake(it.source, 13.0, restart=True)
    assert it.source.slots.resting_until == 13.0
