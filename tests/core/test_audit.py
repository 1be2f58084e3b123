"""Audits of a source: which downloads it has, and how it repairs an interrupted step."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import tenacity

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, PutBack
from haulier._engine.ticket import Ticket, make_ticket
from haulier.policies import RestartPolicy

ON = 1_000_000.0
Make = Callable[..., Any]


def ticket(download_id: str) -> Ticket:
    return make_ticket(download_id, "tidal", username="tidal", queued_at=10.0)


# ---- at a source -----------------------------------------------------------------------------------------------------


def test_a_source_has_what_waits_and_what_runs(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.start()
    assert it.source.missing(["a", "b", "c"]) == ["c"]


def test_what_is_queued_already_comes_into_the_queue_no_second_time(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.source.attempts.settle(it.start(), BackOff(4.0, "reset", "OSError"), 0.0, ON)
    for download_id in ("a", "a", "b", "unknown"):
        it.source.queue.retry_due(download_id)
    assert list(it.source.queue.ids) == ["a", "b"]


def test_nothing_is_told_again_of_a_source_that_waits_for_nobody(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.start()
    it.source.remind(1.0)
    assert it.supervisor == []


def test_a_rest_after_a_crash_is_told_again(make: Make) -> None:
    it = make(restart=RestartPolicy(wait=tenacity.wait_fixed(2.0)))
    it.put("a")
    it.crash(it.start(), SystemExit(), 10.0)
    told = [m.Wake(it.source, 12.0, restart=True)]
    assert it.supervisor == told
    it.source.remind(11.0)
    assert it.supervisor == 2 * told


def test_a_back_off_is_told_again_until_it_is_over(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.attempts.settle(it.start(), BackOff(4.0, "reset", "OSError"), 10.0, ON)
    it.source.remind(11.0)
    told = 2 * [m.Retry(it.source, "a", 14.0)]
    assert it.supervisor == told
    it.source.queue.retry_due("a")
    it.source.remind(15.0)
    assert it.supervisor == told


def test_what_was_put_back_waits_for_no_supervisor(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.attempts.settle(it.start(), PutBack(4.0), 10.0, ON)
    it.source.remind(11.0)
    assert it.supervisor == []


def test_an_attempt_with_a_time_out_is_guarded_again(make: Make) -> None:
    it = make(stall_timeout=8.0, timeout=100.0)
    it.put("a")
    transfer = it.start(10.0)
    it.source.remind(20.0)
    assert it.supervisor == [m.Guard(it.source, transfer, 12.0), m.Guard(it.source, transfer, 22.0)]


# ---- somebody was torn in the middle of a step -----------------------------------------------------------------------


def test_what_is_in_flight_and_in_nobodys_hand_is_let_go_of(make: Make) -> None:
    it = make(concurrency=3, delay=2.0, delay_from="start")
    it.put("a", "b", "c")
    kept = it.start(1.0)
    stray = it.source.attempts.take(3.0, ON)
    it.source.gate.claims = 7
    assert it.source.repair("abc", {kept}, 2, 1, 5.0, ON) == ["b"]
    assert it.source.attempts.in_flight == {"a": kept}
    assert (stray.fenced, stray.cancelled, kept.fenced, kept.cancelled) == (True, True, False, False)
    assert (it.source.slots.live, it.source.slots.zombies, it.source.gate.claims) == (2, 1, 0)
    assert it.start(6.0) == 7.0  # the delay counts from then: its impl may have been called


def test_who_was_being_given_up_on_is_a_zombie_and_nobody_has_its_download(make: Make) -> None:
    it = make()
    it.put("a")
    transfer = it.start(1.0)

    def torn(*_: Any, **__: Any) -> None:
        raise SystemExit

    for part, step in ((it.source.attempts, "confirm"), (it.source, "tell_store")):
        real = getattr(part, step)
        setattr(part, step, torn)
        it.source.attempts.in_flight["a"] = transfer
        with pytest.raises(SystemExit):
            it.source.give_up(transfer, "timed out", "TimeoutError", 9.0, ON)
        setattr(part, step, real)
        assert transfer.given_up
        assert it.source.repair(["a"], {transfer}, 0, 1, 9.0, ON) == ["a"]
        assert (it.source.attempts.in_flight, it.source.slots.zombies, it.source.slots.live) == ({}, 1, 0)
    transfer.given_up = True
    it.source.attempts.in_flight["a"] = transfer  # torn at once
    assert it.source.repair(["a"], {transfer}, 0, 1, 9.0, ON) == ["a"]
    assert it.source.attempts.settle(transfer, m.Succeeded(transfer, "/late"), 20.0, ON) is False
    assert (it.source.attempts.in_flight, it.source.slots.zombies) == ({}, 0)


def test_the_end_of_what_was_over_and_is_let_go_of_is_told(make: Make) -> None:
    """So that the next process does not take it for one that ran to the end of this one."""
    it = make()
    it.source.is_durable = True
    it.put("a", "b")
    cancelled = it.start(1.0)
    it.source.cancel("a", ON)
    before = len(it.store)
    assert it.source.repair("b", {None}, 1, 0, 5.0, ON) == []
    assert it.store[before:] == [m.Paced("tidal", ON, None)]
    assert cancelled.fenced
    it.start(6.0)
    before = len(it.store)
    assert it.source.repair("b", {None}, 1, 0, 7.0, ON) == ["b"]
    assert it.store[before:] == []  # its end is told where it fails


def test_all_that_an_audit_does_at_a_source_is_done_by_what_puts_it_right(make: Make) -> None:
    it = make(stall_timeout=8.0, concurrency=2)
    it.put("a", "b", "d")
    it.source.attempts.settle(it.start(), BackOff(4.0, "reset", "OSError"), 10.0, ON)
    running = it.start(10.0)
    it.source.queue.ids.clear()
    it.supervisor.clear()
    assert it.source.repair("abcd", {running}, 1, 0, 11.0, ON) == ["c"]
    assert list(it.source.queue.ids) == ["d"]
    assert it.supervisor == [m.Retry(it.source, "a", 14.0), m.Guard(it.source, running, 13.0)]


def test_what_is_about_to_start_keeps_its_claim(make: Make) -> None:
    it = make(delay=2.0)
    it.put("a")
    taken = it.source.attempts.take(0.0, ON)
    assert it.source.repair("a", {taken, None}, 1, 0, 5.0, ON) == []
    assert (it.source.gate.claims, it.source.attempts.in_flight, taken.claimed) == (1, {"a": taken}, True)


def test_what_is_pending_and_not_in_the_queue_comes_back_to_its_place(make: Make) -> None:
    it = make()
    it.put(*"abcd")
    for lost in "db":
        it.source.queue.ids.remove(lost)
    it.source.queue.requeue_stranded(["d", "unknown", "b", "a"])
    assert list(it.source.queue.ids) == ["a", "b", "c", "d"]
    it.source.queue.ids.popleft()
    it.source.queue.requeue_stranded(["a"])
    assert list(it.source.queue.ids) == ["a", "b", "c", "d"]


def test_what_is_to_be_on_disk_first_is_not_stranded_before_it_has_been_queued(make: Make) -> None:
    it = make()
    refused, accepted = ticket("refused"), ticket("accepted")
    it.source.queue.announce([refused, accepted])
    it.source.queue.requeue_stranded(["refused", "accepted"])
    assert it.source.queue.renounce([refused]) == ["refused"]
    assert it.start() == inf
    it.source.queue.enqueue([accepted])
    it.source.queue.ids.clear()
    it.source.queue.requeue_stranded(["refused", "accepted"])
    assert list(it.source.queue.ids) == ["accepted"]
    assert it.source.queue._announced == set()


def test_a_whole_queue_that_was_lost_comes_back_in_its_order(make: Make) -> None:
    it = make()
    ids = [str(number) for number in range(20_000)]
    it.put(*ids)
    it.source.queue.ids.clear()
    it.source.queue.ids.extend(["77", "15000"])
    it.source.queue.requeue_stranded(reversed(ids))
    assert list(it.source.queue.ids) == ids


def test_what_was_withdrawn_is_no_mark_for_who_comes_back(make: Make) -> None:
    it = make()
    it.put(*"abc")
    it.source.queue.ids.remove("b")
    it.source.cancel("c", ON)
    it.source.queue.requeue_stranded(["b"])
    assert list(it.source.queue.ids) == ["a", "c", "b"]


def test_what_backs_off_is_not_stranded_and_what_only_was_tried_is_forgotten(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.source.attempts.settle(it.start(), BackOff(4.0, "reset", "OSError"), 0.0, ON)
    it.source.attempts.settle(it.start(), BackOff(4.0, "reset", "OSError"), 0.0, ON)
    del it.source.queue.pending["b"]
    it.source.queue.requeue_stranded(["a", "b"])
    assert (list(it.source.queue.ids), list(it.source.queue.tried)) == ([], ["a"])
    it.source.queue.retry_due("a")
    it.source.queue.ids.clear()
    it.source.queue.requeue_stranded(["a"])
    assert it.start(5.0).attempt == 2


def test_one_that_came_into_the_queue_twice_does_not_start_while_it_backs_off(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.source.queue.ids.append("a")
    it.source.attempts.settle(it.start(), BackOff(4.0, "reset", "OSError"), 0.0, ON)
    it.source.attempts.settle(it.start(), m.Succeeded(None, "/x"), 0.0, ON)  # type: ignore[arg-type]
    assert it.start(1.0) == inf
    it.source.queue.retry_due("a")
    assert it.start(4.0).attempt == 2
