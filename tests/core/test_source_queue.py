"""A source's queue: put, take, cancel, sweep."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, PutBack
from haulier.errors import EngineClosed, SourceDown
from haulier.policies import SourcePolicy

ON = 1_000_000.0
Make = Callable[..., Any]


# ---- put and take ----------------------------------------------------------------------------------------------------


def test_first_in_first_out_up_to_the_limit(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b", "c")
    first, second = it.start(), it.start()
    assert [first.download_id, second.download_id, it.start()] == ["a", "b", inf]
    assert it.source.attempts.settle(first, m.Succeeded(first, "x"), 0.0, ON) is True
    assert it.start().download_id == "c"


def test_the_store_hears_of_a_download_before_it_can_start(make: Make) -> None:
    it = make()
    seen = []
    it.source.queue._tell_store = lambda message: seen.append(
        (message[0] in it.source.queue.pending, len(it.source.queue.ids))
    )
    it.put("a")
    assert seen == [(True, 0)]


def test_a_start_is_told_with_its_attempt_and_its_moment(make: Make) -> None:
    it = make()
    it.put("a")
    transfer = it.start(5.0)
    assert it.store[-1] is transfer
    assert (transfer.attempt, transfer.started_at, transfer.started_on) == (1, 5.0, ON)
    assert it.source.attempts.in_flight == {"a": transfer}
    assert it.supervisor == []


def test_an_empty_source_has_nothing_to_take(make: Make) -> None:
    assert make(delay=5.0).start() == inf


def test_the_gate_is_waited_at(make: Make) -> None:
    it = make(delay=3.0)
    it.put("a", "b")
    transfer = it.start(10.0)
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 11.0, ON)
    assert it.start(11.0) == 14.0
    assert it.start(13.999999) == 14.0
    assert it.start(14.0).download_id == "b"


def test_a_paused_source_says_when_something_changes(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.gate.set_paused(True)
    assert it.start(1e9) == inf


def test_a_lower_limit_starts_nothing_until_the_count_is_below_it(make: Make) -> None:
    it = make(concurrency=3)
    it.put(*"abcd")
    running = [it.start() for _ in range(3)]
    it.source.apply(SourcePolicy(concurrency=2))
    for transfer, after in zip(running, (inf, "d", inf), strict=True):
        it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 0.0, ON)
        taken = it.start()
        assert taken == after or taken.download_id == after


def test_take_back_undoes_a_put_and_only_a_put(make: Make) -> None:
    it = make()
    it.put("a", "b")
    transfer = it.start()
    assert it.source.queue.take_back("b") is True
    assert it.store[-1] == m.Forget("tidal", "b")
    assert it.source.queue.take_back("b") is False
    assert it.source.queue.take_back(transfer.download_id) is False
    assert it.start() == inf


def test_the_first_few_that_wait(make: Make) -> None:
    it = make()
    it.put(*"abcd")
    it.source.cancel("b", ON)
    first = it.source.queue.first
    assert [list(first(most)) for most in (-1, 0, 1, 2, 9)] == [
        [],
        [],
        ["a"],
        ["a", "c"],
        ["a", "c", "d"],
    ]


# ---- cancel ----------------------------------------------------------------------------------------------------------


def test_a_cancel_withdraws_what_waits(make: Make) -> None:
    it = make()
    it.put("a", "b")
    assert it.source.cancel("a", ON) is True
    assert it.source.cancel("a", ON) is False
    assert it.start().download_id == "b"
    assert it.ends() == [("cancel", "a", None)]


def test_a_cancel_of_what_runs_is_told_at_once_and_its_result_is_fenced(make: Make) -> None:
    it = make(delay=1.0)
    it.put("a")
    transfer = it.start(0.0)
    assert it.source.cancel("a", ON) is True
    assert (transfer.cancelled, transfer.fenced) == (True, True)
    assert it.source.cancel("a", ON) is False
    assert it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 5.0, ON) is True
    assert it.ends() == [("cancel", "a", None)]
    it.put("b")
    assert it.start(5.0) == 6.0  # the delay counts after it, too


def test_an_unknown_id_is_not_cancelled(make: Make) -> None:
    assert make().source.cancel("a", ON) is False


def test_what_was_cancelled_is_not_kept(make: Make) -> None:
    it = make()
    ids = [str(number) for number in range(1_000)]
    it.put(*ids)
    for download_id in ids[:990]:
        it.source.cancel(download_id, ON)
    assert len(it.source.queue.ids) < 150
    assert [it.start(float(n)).download_id for n in range(1)] == ["990"]
    assert [each for each in it.source.queue.ids if each in it.source.queue.pending] == ids[991:]


def test_cancelling_one_of_many_touches_few(make: Make) -> None:
    it = make()
    it.put(*(str(number) for number in range(10_000)))
    looked = 0

    class Counting(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            nonlocal looked
            looked += 1
            return super().__contains__(key)

    it.source.queue.pending = Counting(it.source.queue.pending)
    assert it.source.cancel("5000", ON)
    assert looked == 0


# ---- sweep, refusal --------------------------------------------------------------------------------------------------


def test_going_down_fails_what_waits_and_lets_what_runs_end(make: Make) -> None:
    it = make()
    it.put("a", "b")
    transfer = it.start()
    it.source.go_down("broken", ON)
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 0.0, ON)
    assert it.ends() == [("fail", "b", "source down: broken"), ("succeed", "a", None)]
    assert (it.source.queue.pending, list(it.source.queue.ids), it.start()) == ({}, [], inf)
    error = it.source.refusal.error("tidal")
    assert isinstance(error, SourceDown)
    assert str(error) == "source 'tidal' is down (broken); fix the cause, then call revive('tidal')"


def test_revive_opens_it_again(make: Make) -> None:
    it = make()
    it.source.slots.resting = True
    it.source.go_down("broken", ON)
    it.put("a")
    assert it.start() == inf
    it.source.revive()
    assert it.source.slots.resting is False
    assert it.start().download_id == "a"


def test_revive_leaves_a_source_alone_that_is_not_down(make: Make) -> None:
    it = make()
    it.source.slots.resting = True
    it.source.revive()
    assert it.source.slots.resting is True
    it.source.close(ON)
    it.source.revive()
    assert it.source.refusal.kind == "closed"


def test_close_fails_what_waits_and_asks_what_runs_to_stop(make: Make) -> None:
    it = make()
    it.put("a", "b")
    transfer = it.start()
    it.source.close(ON)
    assert (transfer.cancelled, transfer.fenced) == (True, False)
    assert it.ends() == [("fail", "b", "engine closed")]
    error = it.source.refusal.error("tidal")
    assert isinstance(error, EngineClosed)
    assert "engine is closed" in str(error)


def test_a_sweep_takes_what_backs_off_along(make: Make) -> None:
    it = make()
    it.put("a")
    transfer = it.start()
    it.source.attempts.settle(transfer, BackOff(5.0, "reset", "OSError"), 0.0, ON)
    it.put("b")
    it.source.sweep("gone", "Gone", ON)
    assert sorted(it.ends()[1:]) == [("fail", "a", "gone"), ("fail", "b", "gone")]
    assert (it.source.queue.tried, it.source.queue.pending) == ({}, {})


def test_a_sweep_takes_what_was_put_back_along(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.attempts.settle(it.start(), PutBack(5.0), 0.0, ON)
    it.source.sweep("gone", "Gone", ON)
    assert it.ends()[1:] == [("fail", "a", "gone")]
