"""Scenarios, and the jobs that are drawn for them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier import DownloadEngine
from haulier._cli.bench.scenario import Scenario
from haulier._cli.bench.service import Service, recorded, service


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 60), st.sampled_from([None, 3.0]))
def test_the_same_scenario_means_the_same_work(seed: int, sources: int, downloads: int, rate: float | None) -> None:
    scenario = Scenario(sources=sources, downloads=downloads, seed=seed, rate=rate)
    jobs = scenario.jobs()
    assert jobs == Scenario(sources=sources, downloads=downloads, seed=seed, rate=rate).jobs()
    assert len(jobs) == downloads
    assert [job.source for job in jobs] == [scenario.names[number % sources] for number in range(downloads)]
    arrivals = [job.arrives_s for job in jobs]
    assert arrivals == sorted(arrivals)
    assert (max(arrivals) > 0) == (rate is not None)


def test_another_seed_means_other_work() -> None:
    assert Scenario(seed=1).jobs() != Scenario(seed=2).jobs()


@given(st.integers(0, 1000))
def test_other_faults_leave_arrivals_and_times_as_they_are(seed: int) -> None:
    calm = Scenario(seed=seed, failures=0.0, crashes=0.0, rate=5.0).jobs()
    rough = Scenario(seed=seed, failures=1.0, crashes=0.0, rate=5.0).jobs()
    assert [(job.arrives_s, [each.seconds for each in job.attempts]) for job in calm] == [
        (job.arrives_s, [each.seconds for each in job.attempts]) for job in rough
    ]
    assert {each.ending for job in calm for each in job.attempts} == {"ok"}
    assert {each.ending for job in rough for each in job.attempts} == {"fail"}


def test_sources_take_limits_and_delays_in_turn() -> None:
    scenario = Scenario(sources=5, concurrency=(1, 4), delay=(0.5, 0.25, 0.0))
    policies = [scenario.policy(name) for name in scenario.names]
    assert [policy.concurrency for policy in policies] == [1, 4, 1, 4, 1]
    assert [policy.delay for policy in policies] == [0.5, 0.25, 0.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sources", 0), ("downloads", 0), ("concurrency", (0,)), ("concurrency", ()), ("delay", (-1.0,)),
        ("failures", 1.5), ("crashes", 0.95), ("rate", 0.0), ("retries", -1), ("retry_s", -1.0), ("jitter", (2.0, 1.0)),
    ],
)  # fmt: skip
def test_an_invalid_scenario_is_refused(field: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Scenario(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "mean"), [("constant:0.25", 0.25), ("exponential:0.5", 0.5), ("lognormal:2,0.5", 2.0)]
)
def test_a_distribution_has_the_mean_that_it_says(text: str, mean: float) -> None:
    random = Random(7)
    drawn = [service(text).draw(random) for _ in range(20_000)]
    assert fmean(drawn) == pytest.approx(mean, rel=0.05)
    assert min(drawn) >= 0


@pytest.mark.parametrize(
    "text",
    [
        "", "constant", "constant:", "constant:x", "constant:-1", "constant:nan", "exponential:inf", "exponential:1,2",
        "lognormal:1", "lognormal:0,1", "lognormal:1,-1", "lognormal:1,nan", "normal:1,2", "trace:",
        "trace:no/such/file",
    ],
)  # fmt: skip
def test_an_invalid_distribution_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown distribution|number|seconds|read|sigma"):
        service(text)


def test_times_come_from_an_engines_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with DownloadEngine(trace=path) as engine:
        for number in range(5):
            engine.wait(engine.worker.dispatch("s", number, "n", "", lambda *_: "x"), timeout=10)
    read = service(f"trace:{path}")
    assert len(read.samples) == 5
    random = Random(1)
    assert {read.draw(random) for _ in range(500)} == set(read.samples)


def test_recorded_times_are_from_each_start_to_its_return() -> None:
    lines = [
        '{"run": "a", "event": "start", "at": 1.0, "id": "x", "stamped": 1.0}',
        '{"run": "b", "event": "start", "at": 1.0, "id": "x", "stamped": 1.5}',
        '{"run": "a", "event": "returned", "at": 3.0, "id": "x"}',
        '{"run": "b", "event": "returned", "at": 2.0, "id": "x"}',
        '{"run": "b", "event": "ret',
    ]
    assert list(recorded(lines)) == [2.0, 0.5]
    assert list(recorded([*lines, '{"run": "c", "event": "opened", "at": 5.0}', *lines[:3]])) == [2.0, 0.5, 2.0]
    with pytest.raises(ValueError, match="line 5"):
        list(recorded([*lines, *lines[:3]]))
    with pytest.raises(ValueError, match="line 1"):
        list(recorded(["hello", *lines]))
    with pytest.raises(ValueError, match="not a trace"):
        list(recorded(["hello"]))


@pytest.mark.parametrize(
    "text",
    ["hello\n", "\xff", "[]\n", '{"run": 1, "event": "start", "at": 1}\n', '{"run": 1, "event": "over", "at": 1}\n'],
)
def test_a_file_that_is_no_trace_says_so(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"not a trace|no download|decode"):
        service(f"trace:{path}")


def test_a_scenario_can_be_compared_and_kept() -> None:
    assert Scenario() == Scenario(service=Service("exponential", 0.1))
    assert len({Scenario(), Scenario()}) == 1
