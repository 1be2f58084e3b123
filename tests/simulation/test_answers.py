"""Whoever tells of a source what is not so, or what does not come true, is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.simulator import Simulator

from haulier._engine.core.gate import Gate
from haulier._engine.core.queue import Queue
from haulier._engine.core.source import Source
from haulier._engine.core.status import Outlook
from haulier.policies import SourcePolicy


def a_day(**policy: Any) -> Simulator:
    """Three downloads, one after the other, and a delay between two."""
    simulator = Simulator(SourcePolicy(**{"delay": 1.0, **policy}))
    ids = [simulator.dispatch().download_id for _ in range(3)]
    simulator.settle_down()
    for each in ids:
        simulator.end(each, path="file.bin")
        simulator.pass_time(1.0)
    simulator.finish()
    return simulator


def test_what_is_told_comes_true() -> None:
    assert [start.at for start in a_day().witness.starts] == [1000.0, 1001.0, 1002.0]


@pytest.mark.parametrize(
    ("of", "name", "lie", "complaint"),
    [
        (Outlook, "reason", lambda _outlook, _id: None, r"was to start in 0.0 s: .* None"),
        (Outlook, "reason", lambda _outlook, _id: "pause", "does not hold"),
        (Outlook, "reason", lambda _outlook, _id: "restart", "does not hold"),
        (Outlook, "reason", lambda _outlook, _id: "slot", "does not hold"),
        (Outlook, "reason", lambda _outlook, _id: "delay", "is held back beyond its start"),
        (Outlook, "start_of", lambda _outlook, _id, _position: None, "is not told when"),
        (Outlook, "start_of", lambda _outlook, _id, _position: 1000.0, "is held back beyond its start"),
        (Outlook, "next_start", property(lambda _outlook: None), "is not told when|no start was to come"),
        (Outlook, "next_start", property(lambda outlook: outlook._now), "is held back beyond its start"),
        (Outlook, "next_start", property(lambda outlook: outlook._now + 0.5), "about to start, and not now"),
        (Queue, "position", lambda _line, _id: 7, "'position': 7"),
        (Queue, "first", lambda queue, _most: [*queue.pending][1:], "about to start, and not now|does not hold"),
        (Gate, "is_spaced", property(lambda _gate: False), r"was to start in 0.0 s: .*'delay'"),
    ],
)
def test_an_untruth_is_found_out(
    monkeypatch: pytest.MonkeyPatch, of: type, name: str, lie: Any, complaint: str
) -> None:
    monkeypatch.setattr(of, name, lie)
    with pytest.raises(AssertionError, match=complaint):
        a_day(concurrency=2)


def later(source: Source) -> None:
    source.gate._gap += 0.5


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (later, "was to start in 0.0 s"),
        (lambda source: source.gate.suspend(1003.0), r"stats\(\) says"),
        (lambda source: setattr(source.gate, "paused", True), r"stats\(\) says"),
        (lambda source: setattr(source.slots, "limit", 2), r"stats\(\) says"),
        (lambda source: source.queue.pending.popitem(), r"stats\(\) says"),
    ],
)
def test_a_source_that_changes_by_itself_is_found_out(harm: Callable[[Source], Any], complaint: str) -> None:
    simulator = Simulator(SourcePolicy(delay=1.0))
    ids = [simulator.dispatch().download_id for _ in range(3)]
    simulator.settle_down()
    simulator.end(ids[0], path="file.bin")
    simulator.settle_down()
    harm(simulator.source)
    with pytest.raises(AssertionError, match=complaint):
        simulator.pass_time(2.0)
