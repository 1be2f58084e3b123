"""How many threads an engine keeps while its sources have nothing to do: ``behaviour.md#memory``."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import GUARD_S, Gatekeeper, wait_until

from haulier import DownloadEngine, SourcePolicy
from haulier._engine.shells.idle import MOST_IDLE, IdleSlots
from haulier._engine.shells.slot import SourceActor

ACTORS = 2
"""The threads of the store and the supervisor."""


def impl(download_id: str, target_id: Any, display_name: str) -> str:
    return "file.bin"


def slots() -> int:
    """How many threads of sources there are."""
    return sum(each.name.startswith("haulier-") for each in threading.enumerate()) - ACTORS


class Box:
    """Stands for a mailbox: what a waiting leader shows of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outlet = self.bell = self
        self.is_dismissed = False
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1


def test_the_leader_that_has_waited_longest_goes() -> None:
    idle, boxes = IdleSlots(most=2), [Box(name) for name in "abc"]
    for box in boxes:
        idle.leader_waits(box)  # type: ignore[arg-type]
    assert [(box.is_dismissed, box.rings) for box in boxes] == [(True, 1), (False, 0), (False, 0)]
    assert len(idle) == 2
    idle.leader_wakes(boxes[1])  # type: ignore[arg-type]
    idle.leader_waits(boxes[1])  # type: ignore[arg-type]  # it has waited anew
    assert idle.dismiss_one()
    assert boxes[2].is_dismissed
    assert idle.dismiss_one()
    assert not idle.dismiss_one()
    idle.leader_wakes(boxes[0])  # type: ignore[arg-type]  # it was dismissed, and is counted no more
    assert len(idle) == 0


def test_followers_count_and_are_let_in_while_there_is_room() -> None:
    idle, box = IdleSlots(most=2), Box("a")
    assert idle.follower_may_wait("one")
    idle.leader_waits(box)  # type: ignore[arg-type]
    assert not idle.follower_may_wait("two")
    idle.follower_wakes("two")
    idle.follower_wakes("one")
    assert idle.follower_may_wait("two")
    idle.leader_waits(Box("b"))  # type: ignore[arg-type]
    assert box.is_dismissed


def test_many_idle_sources_keep_few_threads(engine: DownloadEngine) -> None:
    for number in range(3 * MOST_IDLE):
        engine.wait(dispatch(engine, impl, source=f"host-{number}"), GUARD_S)
    wait_until(lambda: slots() <= MOST_IDLE, "more threads wait than an engine may keep")
    assert slots() > MOST_IDLE // 2, "those that may be kept are"
    for number in (0, 3 * MOST_IDLE - 1):  # one that was dismissed, and one that waits
        assert engine.wait(dispatch(engine, impl, source=f"host-{number}"), GUARD_S)["phase"] == "succeeded"


def test_many_slots_of_few_sources_keep_few_threads(engine: DownloadEngine) -> None:
    for number in range(8):
        engine.register_source(f"host-{number}", SourcePolicy(concurrency=32))
    gatekeeper = Gatekeeper()
    ids = [dispatch(engine, gatekeeper, source=f"host-{n}") for n in range(8) for _ in range(32)]
    gatekeeper.wait_inside(256)
    gatekeeper.open()
    list(engine.as_completed(ids, GUARD_S))
    wait_until(lambda: slots() <= MOST_IDLE, "more threads wait than an engine may keep")
    again = [dispatch(engine, impl, source=f"host-{n}") for n in range(8) for _ in range(32)]
    assert {each["phase"] for each in engine.as_completed(again, GUARD_S)} == {"succeeded"}


def test_sources_that_wait_for_their_delay_keep_few_threads(engine: DownloadEngine) -> None:
    """A dismissed slot has the supervisor wake its source when the delay is over."""
    for number in range(2 * MOST_IDLE):
        engine.register_source(f"host-{number}", SourcePolicy(delay=0.3), impl)
    ids = [dispatch(engine, source=f"host-{number}") for number in range(2 * MOST_IDLE) for _ in range(2)]
    assert {each["phase"] for each in engine.as_completed(ids, GUARD_S)} == {"succeeded"}
    wait_until(lambda: slots() <= MOST_IDLE, "more threads wait than an engine may keep")


@pytest.mark.expect_errors("cannot start a thread")
def test_a_source_that_gets_no_thread_has_that_of_an_idle_one(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the machine has no more threads: one can start only once another has ended."""
    begin, most = SourceActor.begin, 3

    def bounded(self: SourceActor) -> None:
        if slots() >= most:
            raise RuntimeError("can't start new thread")
        begin(self)

    monkeypatch.setattr(SourceActor, "begin", bounded)
    ids = [dispatch(engine, impl, source=f"host-{number}") for number in range(10)]
    assert {each["phase"] for each in engine.as_completed(ids, GUARD_S)} == {"succeeded"}
    assert slots() <= most
