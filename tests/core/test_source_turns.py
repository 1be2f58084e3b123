"""A source in an engine that has a limit: when it asks for a turn, gives one back, and passes one on."""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Any

import pytest
from tests.core.conftest import ON, MakeSource, Told

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, Failed, PutBack
from haulier._engine.core.status import explanation_of
from haulier.transfer import Transfer


class Limit:
    """What a source asks of the limit of its engine, written down. It admits while ``is_open``."""

    def __init__(self) -> None:
        self.is_open = True
        self.asked: list[str] = []
        self.counted: list[int] = []
        self.waiting = False
        self.owner: Hashable = None
        """Who must ask."""

    def take(self, owner: Hashable) -> bool:
        assert owner is self.owner
        self.asked.append("take")
        self.waiting = not self.is_open
        return self.is_open

    def admits(self, owner: Hashable) -> bool:
        assert owner is self.owner
        self.asked.append("admits")
        return self.is_open

    def waits(self, owner: Hashable) -> bool:
        assert owner is self.owner
        return self.waiting

    def give_back(self, owner: Hashable) -> None:
        assert owner is self.owner
        self.asked.append("give back")

    def pass_on(self, owner: Hashable) -> None:
        assert owner is self.owner
        self.asked.append("pass on")

    def recount(self, owner: Hashable, running: int) -> None:
        assert owner is self.owner
        self.counted.append(running)


@pytest.fixture
def limit() -> Limit:
    return Limit()


@pytest.fixture
def it(make: MakeSource, limit: Limit) -> Told:
    """A source with two places and two queued downloads."""
    told = make(concurrency=2)
    told.put("a", "b")
    told.source.turns, limit.owner = limit, told.source
    told.source.slots.live = 2
    return told


def test_each_start_takes_a_turn(it: Told, limit: Limit) -> None:
    assert isinstance(it.start(), Transfer)
    assert limit.asked == ["take"]
    limit.is_open = False
    assert it.start() == inf
    assert limit.asked == ["take", "take"]
    assert list(it.source.queue.pending) == ["b"], "it waits where it was"
    limit.is_open = True
    assert it.start().download_id == "b"


@pytest.mark.parametrize("why", ["empty", "full", "refused", "paused"])
def test_a_source_that_cannot_start_anything_passes_its_turn_on(it: Told, limit: Limit, why: str) -> None:
    source = it.source
    if why == "empty":
        source.queue.withdraw_all()
        source.queue.ids.clear()
    elif why == "full":
        source.slots.set_limit(0)
    elif why == "refused":
        source.go_down("broken", ON)
    else:
        source.gate.set_paused(True)
    assert it.start() == inf
    assert limit.asked == ["pass on"]


def test_during_the_delay_the_turn_is_for_others(make: MakeSource, limit: Limit) -> None:
    it = make(delay=3.0)
    it.put("a", "b")
    it.source.turns, limit.owner = limit, it.source
    it.source.attempts.settle(it.start(1.0), m.Succeeded(None, ""), 2.0, ON)  # type: ignore[arg-type]
    assert it.start(4.0) == 5.0
    assert limit.asked == ["take", "give back", "pass on"]


def test_a_start_that_could_not_be_written_gives_its_turn_back(it: Told, limit: Limit) -> None:
    transfer = it.source.attempts.take(1.0, ON)
    assert isinstance(transfer, Transfer)
    assert it.source.attempts.take_back(transfer, 2.0, ON)
    assert limit.asked == ["take", "give back"]


def test_a_turn_for_what_was_withdrawn_is_given_back(it: Told, limit: Limit) -> None:
    for download_id in "ab":
        it.source.cancel(download_id, ON)
    assert it.start() == inf
    assert limit.asked in (["take", "give back"], ["pass on"])
    limit.asked.clear()
    it.source.queue.ids.extend(["gone", "gone too"])
    assert it.start() == inf
    assert limit.asked == ["take", "give back"]


def test_without_a_queue_in_the_way_no_two_steps_become_one(it: Told, limit: Limit) -> None:
    """With a limit each end gives its turn back, so that another source may have it."""
    transfer = it.start()
    outcome = m.Succeeded(transfer, "path")
    assert it.source.attempts.settle_and_take(transfer, outcome, 1.0, ON) is None
    assert it.source.attempts.settle(transfer, outcome, 1.0, ON)
    assert limit.asked == ["take", "give back"]


@pytest.mark.parametrize("end", ["succeed", "fail", "back off", "put back", "crash", "give up", "lose"])
def test_each_end_gives_one_turn_back(it: Told, limit: Limit, end: str) -> None:
    source, transfer = it.source, it.start()
    limit.asked.clear()
    outcomes: dict[str, Any] = {
        "succeed": m.Succeeded(transfer, "path"), "fail": Failed("x", "X"), "back off": BackOff(1.0, "x", "X"),
        "put back": PutBack(1.0),
    }  # fmt: skip
    if end in outcomes:
        source.attempts.settle(transfer, outcomes[end], 1.0, ON)
    elif end == "crash":
        it.crash(transfer, RuntimeError("x"), 1.0)
    elif end == "give up":
        source.give_up(transfer, "x", "X", 1.0, ON)
        assert limit.asked == ["give back"]
        source.attempts.settle(transfer, m.Succeeded(transfer, "late"), 2.0, ON)
    else:
        source.repair([], (), 0, 0, 1.0, ON)
        assert limit.counted == [0]
    assert limit.asked == ["give back"]
    assert source.attempts.in_flight == {}


def test_no_slot_is_hired_for_a_source_that_waits_for_its_turn(it: Told, limit: Limit) -> None:
    it.source.slots.live = 0
    assert it.source.lacks_slots
    limit.is_open = False
    assert not it.source.lacks_slots
    assert not it.source.reserve_slot()
    assert set(limit.asked) == {"admits"}
    limit.asked.clear()
    it.source.queue.withdraw_all()
    it.source.queue.ids.clear()
    assert not it.source.lacks_slots
    assert limit.asked == [], "with nothing to start it does not ask"


def test_a_repair_counts_what_runs(it: Told, limit: Limit) -> None:
    first, second = it.start(), it.start()
    it.source.repair(["a", "b"], {first, second}, 2, 0, 1.0, ON)
    assert limit.counted == [2]


def test_who_waits_for_a_turn_is_told_so(it: Told, limit: Limit) -> None:
    limit.is_open = False
    it.start()
    said = explanation_of("a", "queued", it.source, 0.0, ON)
    assert said == {"phase": "queued", "reason": "engine", "position": 0, "earliest_start": None}
    limit.is_open = True
    it.start()
    assert explanation_of("b", "queued", it.source, 0.0, ON)["reason"] is None


def test_the_delay_is_named_before_the_engine(make: MakeSource, limit: Limit) -> None:
    it = make(delay=3.0)
    it.put("a", "b")
    it.source.turns, limit.owner = limit, it.source
    it.source.attempts.settle(it.start(1.0), m.Succeeded(None, ""), 2.0, ON)  # type: ignore[arg-type]
    limit.waiting = True
    assert explanation_of("b", "queued", it.source, 2.0, ON)["reason"] == "delay"
    assert explanation_of("b", "queued", it.source, 9.0, ON)["reason"] == "engine"


@pytest.mark.parametrize("why", ["wanted", "empty", "no slot", "refused", "paused"])
def test_a_place_that_no_slot_will_use_is_passed_on(it: Told, limit: Limit, why: str) -> None:
    source = it.source
    if why == "empty":
        source.queue.ids.clear()
    elif why == "no slot":
        source.slots.live = 0
    elif why == "refused":
        source.go_down("broken", ON)
    elif why == "paused":
        source.gate.set_paused(True)
    source.pass_on_unless_wanted()
    assert limit.asked == ([] if why == "wanted" else ["pass on"])


def test_without_a_limit_there_is_no_place_to_pass_on(make: MakeSource) -> None:
    make().source.pass_on_unless_wanted()
