"""Simulated runs: results that can be computed by hand, and properties of every scenario."""

from __future__ import annotations

import json
from itertools import pairwise
from math import fsum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulier._cli.bench.course import Course, course
from haulier._cli.bench.measures import Measures, jain, measure, quantile
from haulier._cli.bench.scenario import Scenario
from haulier._cli.bench.service import Service
from haulier._cli.bench.simulated import TICK, simulate
from haulier.verify import verify


def simulated(**asked: Any) -> tuple[Course, Measures]:
    calm: dict[str, Any] = {"sources": 1, "concurrency": (1,), "delay": (0.0,), "failures": 0.0, "crashes": 0.0}
    scenario = Scenario(**{**calm, **asked})
    lines = list(simulate(scenario))
    verify(lines)
    run = course(lines, restart_s=scenario.restart_s, retry_s=scenario.retry_s)
    return run, measure(run)


CONSTANT = Service("constant", 0.25)


def waits(run: Course) -> list[float]:
    firsts = [bar for bar in run.bars if bar.attempt == 1]
    return [bar.start - run.arrivals[bar.download_id] for bar in firsts]


def test_one_slot_and_all_at_once() -> None:
    run, measures = simulated(downloads=8, service=CONSTANT)
    assert waits(run) == [0.25 * number for number in range(8)]
    assert measures.makespan_s == 2.0
    assert measures.throughput == 4.0
    assert measures.wait_mean_s == 0.875
    assert measures.wait_p50_s == 0.875
    assert measures.wait_max_s == 1.75
    assert measures.utilisation == 1.0
    assert measures.fairness == 1.0
    assert (measures.downloads, measures.succeeded, measures.attempts) == (8, 8, 8)
    assert (measures.failed, measures.restarts) == (0, 0)


def test_a_delay_from_the_end_comes_on_top() -> None:
    run, measures = simulated(downloads=8, service=CONSTANT, delay=(0.5,))
    assert waits(run) == [0.75 * number for number in range(8)]
    assert measures.makespan_s == 7 * 0.75 + 0.25
    assert [(gap.start, gap.end, gap.kind) for gap in run.gaps] == [
        (0.75 * number + 0.25, 0.75 * number + 0.75, "delay") for number in range(7)
    ]


def test_a_delay_from_the_start_only_fills_it_up() -> None:
    run, _ = simulated(downloads=4, service=CONSTANT, delay=(0.5,), delay_from="start")
    assert waits(run) == [0.0, 0.5, 1.0, 1.5]
    run, _ = simulated(downloads=4, service=CONSTANT, delay=(0.125,), delay_from="start")
    assert waits(run) == [0.0, 0.25, 0.5, 0.75]
    assert run.gaps == []


def test_two_slots_take_half_as_long() -> None:
    run, measures = simulated(downloads=8, service=CONSTANT, concurrency=(2,))
    assert waits(run) == [0.25 * (number // 2) for number in range(8)]
    assert measures.makespan_s == 1.0
    assert measures.utilisation == 1.0
    assert {bar.lane for bar in run.bars} == {0, 1}


def test_what_fails_is_tried_again_and_then_fails() -> None:
    run, measures = simulated(downloads=3, service=CONSTANT, failures=1.0, retries=2, retry_s=0.5)
    assert (measures.succeeded, measures.failed, measures.attempts, measures.retries) == (0, 3, 9, 6)
    assert measures.throughput == 0.0
    assert [bar.ending for bar in run.bars if bar.attempt < 3] == ["retried"] * 6
    assert [bar.ending for bar in run.bars if bar.attempt == 3] == ["failed"] * 3


def test_a_crash_costs_its_rest() -> None:
    run, measures = simulated(downloads=4, service=Service("constant", 0.0), crashes=1.0, restart_s=0.5)
    assert [bar.start for bar in run.bars] == [0.0, 0.5, 1.0, 1.5]
    assert {bar.ending for bar in run.bars} == {"crashed"}
    assert (measures.failed, measures.restarts, measures.attempts) == (4, 4, 4)
    assert [(gap.start, gap.end) for gap in run.gaps if gap.kind == "rest"][:2] == [(0.0, 0.5), (0.5, 1.0)]


def test_what_comes_late_does_not_wait() -> None:
    _, measures = simulated(downloads=50, service=Service("constant", 0.0), rate=100.0)
    assert measures.wait_max_s == 0.0
    assert measures.makespan_s > 0.1


def scenarios() -> st.SearchStrategy[Scenario]:
    return st.builds(
        Scenario,
        sources=st.integers(1, 4),
        downloads=st.integers(1, 40),
        concurrency=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
        delay=st.lists(st.floats(0, 1), min_size=1, max_size=3).map(tuple),
        delay_from=st.sampled_from(["end", "start"]),
        jitter=st.sampled_from([None, (0.5, 1.5)]),
        rate=st.sampled_from([None, 0.5, 20.0]),
        service=st.sampled_from([CONSTANT, Service("exponential", 0.3), Service("lognormal", 0.3, 1.5)]),
        failures=st.sampled_from([0.0, 0.3, 0.7]),
        crashes=st.sampled_from([0.0, 0.1, 0.3]),
        retries=st.integers(0, 2),
        retry_s=st.floats(0, 1),
        restart_s=st.floats(0, 1),
        seed=st.integers(0, 1000),
    )


@settings(max_examples=150)
@given(scenarios())
def test_any_scenario(scenario: Scenario) -> None:
    lines = list(simulate(scenario))
    assert lines == list(simulate(scenario))
    report = verify(lines)
    assert (report.downloads, report.open) == (scenario.downloads, 0)
    run = course(lines, restart_s=scenario.restart_s, retry_s=scenario.retry_s)
    measures = measure(run)
    assert measures.succeeded + measures.failed == measures.downloads == scenario.downloads
    assert measures.attempts == report.attempts == measures.downloads + measures.retries
    assert {bar.ending for bar in run.bars} <= {"succeeded", "failed", "retried", "crashed"}
    # Each attempt took as long as the scenario says, up to a tick.
    work = {f"simulated-{job.number}": job for job in scenario.jobs()}
    for bar in run.bars:
        asked = work[bar.download_id].attempts[bar.attempt - 1]
        assert asked.seconds - 1e-9 <= bar.end - bar.start <= asked.seconds + 2 * TICK
        assert (bar.ending == "crashed") == (asked.ending == "crash")
        assert (bar.ending == "succeeded") == (asked.ending == "ok")
    busy = fsum(bar.end - bar.start for bar in run.bars)
    slots = sum(map(scenario.slots, scenario.names))
    assert measures.utilisation * slots * measures.makespan_s == pytest.approx(busy)
    assert measures.utilisation <= 1 + 1e-9
    assert 1 / scenario.sources - 1e-9 <= measures.fairness <= 1 + 1e-9
    assert (
        0
        <= measures.wait_p50_s
        <= measures.wait_p95_s
        <= measures.wait_p99_s
        <= measures.wait_max_s
        <= measures.makespan_s
    )
    # No two bars in one lane at once, and no more lanes than slots.
    for name in scenario.names:
        for lane in {bar.lane for bar in run.bars if bar.source == name}:
            assert lane < scenario.slots(name)
            spans = sorted((bar.start, bar.end) for bar in run.bars if (bar.source, bar.lane) == (name, lane))
            assert all(before[1] <= after[0] for before, after in pairwise(spans))
    for gap in run.gaps:
        assert gap.start <= gap.end
        beside = [bar for bar in run.bars if (bar.source, bar.lane) == (gap.source, gap.lane)]
        assert not any(bar.start < gap.end - TICK and gap.start < bar.end for bar in beside)


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_jain_lies_between_one_nth_and_one(values: list[float]) -> None:
    assert jain([3.0] * (len(values) + 1)) == pytest.approx(1)
    assert jain([*([0.0] * len(values)), 2.0]) == pytest.approx(1 / (len(values) + 1))
    assert 1 / max(1, len(values)) - 1e-9 <= jain(values) <= 1 + 1e-9


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50).map(sorted), st.floats(0, 1))
def test_quantiles_lie_in_between(values: list[float], share: float) -> None:
    assert values[0] - 1e-6 <= quantile(values, share) <= values[-1] + 1e-6
    assert quantile(values, 0) == values[0]
    assert quantile(values, 1) == values[-1]
    assert quantile([1.0, 2.0, 4.0], 0.75) == 3.0
    assert quantile([], 0.5) == 0.0


def test_lines_are_those_of_an_engine() -> None:
    notes = [json.loads(line) for line in simulate(Scenario(), "mine")]
    assert {each["run"] for each in notes} == {"mine"}
    assert [notes[0]["event"], notes[-1]["event"]] == ["opened", "closed"]
    times = [each["at"] for each in notes]
    assert times == sorted(times)
    assert {"rules", "queued", "start", "returned", "end", "fell", "over"} <= {each["event"] for each in notes}


def test_a_wait_for_the_delay_begins_once_nothing_else_is_waited_for() -> None:
    run, _ = simulated(
        downloads=2, service=CONSTANT, delay=(0.5,), failures=1.0, retries=1, retry_s=2.0, concurrency=(2,)
    )
    # The first attempts start at 0 and 0.75. The retries are due at 2.25 and 3, when no delay is left to wait for.
    assert [(bar.start, bar.attempt) for bar in run.bars] == [(0.0, 1), (0.75, 1), (2.25, 2), (3.0, 2)]
    assert [(gap.start, gap.end) for gap in run.gaps] == [(0.25, 0.75)]
    run, _ = simulated(downloads=2, service=Service("constant", 0.0), delay=(0.5,), crashes=1.0, restart_s=0.25)
    assert [(gap.kind, gap.start, gap.end) for gap in run.gaps] == [
        ("rest", 0.0, 0.25), ("rest", 0.5, 0.75), ("delay", 0.25, 0.5),
    ]  # fmt: skip


def test_a_crash_comes_on_the_way() -> None:
    run, _ = simulated(downloads=40, service=CONSTANT, crashes=1.0, restart_s=0.0)
    lengths = {bar.end - bar.start for bar in run.bars}
    assert len(lengths) > 30
    assert max(lengths) < 0.25
