"""A real run does the same work as the simulated one. Times are only compared with their lower limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulier._cli.bench.course import Course, course
from haulier._cli.bench.measures import measure
from haulier._cli.bench.real import run
from haulier._cli.bench.scenario import Scenario
from haulier._cli.bench.service import Service
from haulier._cli.bench.simulated import simulate
from haulier.verify import verify

PAIRS = [
    Scenario(downloads=30, service=Service("exponential", 0.01), delay=(0.005,), seed=3),
    Scenario(sources=2, downloads=24, concurrency=(1, 3), service=Service("constant", 0.01), failures=0.4,
             crashes=0.1, retries=2, retry_s=0.01, restart_s=0.02, delay=(0.0, 0.01)),
    Scenario(sources=1, downloads=15, concurrency=(2,), rate=200.0, service=Service("lognormal", 0.01, 1.0),
             delay=(0.005,), delay_from="start"),
]  # fmt: skip


def both(scenario: Scenario, path: Path) -> tuple[Course, Course]:
    """Run ``scenario`` with the real engine and simulated. Returns both courses."""
    assert run(scenario, path)
    lines = path.read_text("utf-8").splitlines()
    assert verify(lines).open == 0
    return course(lines, restart_s=scenario.restart_s), course(simulate(scenario), restart_s=scenario.restart_s)


@pytest.mark.expect_errors(r"Failed: .*", r"source .* crashed", r"Unhandled exception in SourceActor")
@pytest.mark.parametrize("scenario", PAIRS)
def test_both_do_the_same_work(scenario: Scenario, tmp_path: Path) -> None:
    real, simulated = both(scenario, tmp_path / "trace")
    measured, predicted = measure(real), measure(simulated)
    for each in ("downloads", "succeeded", "failed", "attempts", "retries", "restarts"):
        assert getattr(measured, each) == getattr(predicted, each), each
    assert [(s.name, s.slots, s.downloads, s.succeeded, s.failed, s.restarts) for s in measured.sources] == [
        (s.name, s.slots, s.downloads, s.succeeded, s.failed, s.restarts) for s in predicted.sources
    ]


@pytest.mark.expect_errors(r"Failed: .*", r"source .* crashed", r"Unhandled exception in SourceActor")
def test_one_slot_takes_the_same_order_and_is_never_faster(tmp_path: Path) -> None:
    scenario = Scenario(
        sources=1, downloads=20, concurrency=(1,), service=Service("constant", 0.004), delay=(0.002,),
        failures=0.2, crashes=0.1, retries=0, restart_s=0.01, seed=5,
    )  # fmt: skip
    real, simulated = both(scenario, tmp_path / "trace")
    order = {each: place for place, each in enumerate(real.arrivals)}
    assert [order[bar.download_id] for bar in real.bars] == list(range(20))
    assert [bar.download_id for bar in simulated.bars] == [f"simulated-{number}" for number in range(1, 21)]
    assert [bar.ending for bar in real.bars] == [bar.ending for bar in simulated.bars]
    assert {bar.ending for bar in real.bars} == {"succeeded", "failed", "crashed"}
    # 1 ms for the rounding to ticks and the resolution of the clock.
    assert real.makespan_s >= simulated.makespan_s - 1e-3


def test_it_can_be_stopped(tmp_path: Path) -> None:
    long = Scenario(sources=1, downloads=3, concurrency=(1,), service=Service("constant", 1000.0), crashes=0.0)
    assert not run(long, tmp_path / "trace", stopped=lambda: True)
    late = Scenario(sources=1, downloads=3, concurrency=(1,), rate=1e-6, crashes=0.0)
    assert not run(late, tmp_path / "later", stopped=lambda: True)
