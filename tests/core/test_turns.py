"""How many downloads of an engine run at once, and how its sources take turns: ``behaviour.md#limits``."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier._engine.core.turns import CALL_S, Turns


def full(limit: int, *sources: str) -> Turns:
    """Turns with a download running at each of ``sources``."""
    it = Turns(limit)
    for source in sources:
        assert it.take(source, 0.0)
    return it


def test_without_a_limit_nobody_waits() -> None:
    it = Turns()
    assert [it.take(source, 0.0) for source in "aab"] == [True, True, True]
    assert (it.running, it.limit) == (3, None)
    assert it.admits("c", 0.0)
    assert not it.waits("c")
    assert it.give_back("a", 0.0) == []
    assert it.running == 2


def test_as_many_as_the_limit_run_and_the_others_are_called_in_turn() -> None:
    it = full(2, "a", "b")
    assert [it.take(source, 0.0) for source in "cdc"] == [False, False, False]
    assert [it.waits(source) for source in "abcd"] == [False, False, True, True]
    assert it.give_back("a", 1.0) == ["c"]
    assert not it.waits("c")
    assert not it.take("a", 0.0), "the place is kept for the one that was called"
    assert not it.admits("d", 0.0)
    assert it.admits("c", 0.0)
    assert it.take("c", 0.0)
    assert it.running == 2
    assert it.give_back("b", 2.0) == ["d"]
    assert it.take("d", 0.0)
    assert it.give_back("c", 3.0) == ["a"]


def test_a_free_place_is_for_those_that_wait_first() -> None:
    it = full(1, "a")
    assert not it.take("b", 0.0)
    assert it.give_back("a", 0.0) == ["b"]
    assert it.pass_on("b", 0.0) == []
    assert it.take("a", 0.0), "nobody waits any more"


def test_one_that_waits_may_take_a_place_itself() -> None:
    it = full(1, "a")
    assert not it.admits("b", 0.0)
    it.limit = 2
    assert it.admits("b", 0.0)
    assert it.waits("b"), "it has only asked"
    assert not it.take("c", 0.0), "b was first"
    assert it.take("b", 0.0)
    assert not it.waits("b")


def test_a_place_that_is_passed_on_goes_to_the_next() -> None:
    it = full(1, "a")
    it.take("b", 0.0)
    it.take("c", 0.0)
    assert it.give_back("a", 0.0) == ["b"]
    assert it.pass_on("c", 0.0) == [], "it has none"
    assert it.waits("c")
    assert it.pass_on("b", 0.0) == ["c"]
    assert it.pass_on("b", 0.0) == []
    assert it.take("c", 0.0)


def test_a_place_is_kept_for_some_seconds() -> None:
    assert CALL_S == 5.0
    it = full(1, "a")
    it.take("b", 0.0)
    it.take("c", 0.0)
    assert it.give_back("a", 5.0) == ["b"]
    assert it.call(9.999) == []
    assert it.call(10.0) == ["c"]
    assert not it.take("b", 0.0)
    assert it.take("c", 0.0)


def test_a_higher_limit_calls_at_once() -> None:
    it = full(1, "a")
    for source in "bcd":
        it.take(source, 0.0)
    assert it.set_limit(3, 0.0) == ["b", "c"]
    assert it.set_limit(None, 0.0) == ["b", "c", "d"]
    assert it.limit is None


def test_under_a_lower_limit_the_called_wait_again_before_all_others() -> None:
    it = full(3, "a", "a", "b")
    it.take("c", 0.0)
    it.take("d", 0.0)
    assert it.give_back("b", 0.0) == ["c"]
    assert it.set_limit(2, 0.0) == []
    assert not it.take("c", 0.0)
    assert it.give_back("a", 0.0) == ["c"]
    assert it.give_back("a", 0.0) == ["d"]


def test_a_recount_corrects_one_source() -> None:
    it = full(3, "a", "a", "b")
    it.take("c", 0.0)
    it.take("d", 0.0)
    assert it.recount("a", 2, 0.0) == []
    assert it.recount("a", 0, 0.0) == ["c", "d"]
    assert it.running == 1
    assert it.recount("e", 4, 0.0) == []
    assert it.running == 5
    assert it.recount("b", 1, 0.0) == []
    assert it.running == 5


def test_each_source_is_counted_by_itself() -> None:
    it = full(3, "a", "a", "b")
    it.give_back("a", 0.0)
    it.recount("a", 1, 0.0)
    it.recount("b", 1, 0.0)
    assert it.running == 2, "both counts were right"
    for _ in range(2):
        it.recount("a", 3, 0.0)
    assert it.running == 4
    it.recount("b", 0, 0.0)
    assert it.running == 3


def test_whoever_frees_a_place_says_when() -> None:
    """The time of a call is that of the step which made it: a second look at it, much later, takes the place away."""
    it = full(2, "a", "b")
    for source in "cdef":
        it.take(source, 0.0)
    assert it.give_back("a", 1.0) == ["c"]
    assert it.give_back("b", 2.0) == ["d"]
    assert it.pass_on("c", 3.0) == ["e"]
    assert it.set_limit(3, 4.0) == ["d", "e", "f"]
    assert it.call(4.0 + CALL_S) == []
    assert it.running == 0
    assert not it.waits("d")
    assert it.take("g", 0.0)


@pytest.mark.parametrize("ask", [Turns.take, Turns.admits])
def test_one_that_asks_gets_the_place_of_one_that_did_not_come(ask: Any) -> None:
    """Also when nothing runs any more, and so nothing ends."""
    it = full(1, "a")
    it.take("b", 0.0)
    assert it.give_back("a", 1.0) == ["b"]
    assert not ask(it, "c", 0.999 + CALL_S)
    assert it.is_busy
    assert ask(it, "c", 1.0 + CALL_S)


def test_it_is_busy_while_any_source_waits_or_was_called() -> None:
    it = full(1, "a")
    assert not it.is_busy
    it.take("b", 0.0)
    assert it.is_busy
    it.give_back("a", 0.0)
    assert it.is_busy
    it.take("b", 0.0)
    assert not it.is_busy


STEPS = st.lists(st.tuples(st.sampled_from(["wants", "ends", "limit", "late"]), st.integers(0, 4), st.integers(1, 3)))


@given(STEPS)
def test_never_more_than_the_limit_and_none_is_forgotten(steps: list[tuple[str, int, int]]) -> None:
    """Each called source comes, or is late. At the end all that wanted a turn have had it."""
    it, now = Turns(2), 0.0
    running: list[Hashable] = []
    wants: list[Hashable] = []

    def come(called: list[Hashable]) -> None:
        for source in called:
            start(source)

    def start(source: Hashable) -> None:
        if it.take(source, 0.0):
            running.append(source)
            wants.remove(source)
            assert it.limit is None or len(running) <= max(it.limit, before)

    for what, source, number in steps:
        before = len(running)
        if what == "wants" and source not in wants:
            wants.append(source)
            start(source)
        elif what == "ends" and running:
            come(it.give_back(running.pop(0), now))
        elif what == "limit":
            come(it.set_limit(number, now))
        elif what == "late" and running:
            it.give_back(running.pop(0), now)  # whoever is called does not come
            now += CALL_S
            for each in list(wants):
                if not it.waits(each):
                    start(each)  # it asks again later
        assert it.running == len(running)
    for _ in range(4 * len(steps) + 4):
        now += CALL_S
        before = len(running)
        come(it.call(now))
        for each in list(wants):
            start(each)
        if running:
            come(it.give_back(running.pop(0), now))
    assert wants == []


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_sources_with_much_to_do_have_equal_shares(limit: int) -> None:
    it, starts = Turns(limit), dict.fromkeys("abcde", 0)
    running = [source for source in "abcde" if it.take(source, 0.0)]
    for _ in range(500):
        source = running.pop(0)
        called = it.give_back(source, 0.0)
        assert not it.take(source, 0.0)
        for each in called:
            assert it.take(each, 0.0)
            starts[str(each)] += 1
            running.append(str(each))
    assert set(starts.values()) == {100}
