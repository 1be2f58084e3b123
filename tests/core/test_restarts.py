"""Restart intensity and back-off."""

from __future__ import annotations

from typing import Any

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from haulier._engine.core.restarts import GoDown, RestartAt, Restarts
from haulier.policies import RestartPolicy

CRASH = SystemExit("gone")


def test_up_to_the_intensity_it_is_restarted_and_then_given_up() -> None:
    restarts = Restarts(RestartPolicy(intensity=2, period=5.0, wait=tenacity.wait_fixed(1.0)))
    assert restarts.crashed(0.0, CRASH) == RestartAt(1.0)
    assert restarts.crashed(2.0, CRASH) == RestartAt(3.0)
    verdict = restarts.crashed(4.0, CRASH)
    assert isinstance(verdict, GoDown)
    assert verdict.reason == "more than 2 restarts within 5 s"
    assert restarts.total == 2


def test_restarts_older_than_the_period_do_not_count() -> None:
    restarts = Restarts(RestartPolicy(intensity=1, period=5.0, wait=tenacity.wait_none()))
    assert isinstance(restarts.crashed(0.0, CRASH), RestartAt)
    assert isinstance(restarts.crashed(5.0, CRASH), RestartAt)
    assert isinstance(restarts.crashed(9.75, CRASH), GoDown)


def test_an_intensity_of_0_never_restarts() -> None:
    assert isinstance(Restarts(RestartPolicy(intensity=0)).crashed(0.0, CRASH), GoDown)


def test_the_wait_grows_with_each_restart_in_a_row_and_starts_anew_after_a_calm_time() -> None:
    restarts = Restarts(RestartPolicy(100, 1.0, tenacity.wait_exponential(multiplier=1), calm=60.0))
    waits = []
    for now in (0.0, 10.0, 20.0, 80.0, 140.5):
        verdict = restarts.crashed(now, CRASH)
        assert isinstance(verdict, RestartAt)
        waits.append(verdict.at - now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 1.0]


def test_the_wait_sees_the_cause_and_the_restarts_in_a_row_as_attempts() -> None:
    seen: list[Any] = []

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        seen.append((state.outcome.exception(), state.outcome.attempt_number, state.attempt_number))
        assert (state.start_time, state.seconds_since_start, state.idle_for) == (0.0, 0.0, 0.0)
        return 0.5

    restarts = Restarts(RestartPolicy(wait=wait))
    assert [restarts.crashed(now, CRASH) for now in (1.0, 2.0)] == [RestartAt(1.5), RestartAt(2.5)]
    assert seen == [(CRASH, 1, 1), (CRASH, 2, 2)]


@pytest.mark.parametrize(
    ("wait", "error"),
    [(lambda _: 1 / 0, "ZeroDivisionError"), (lambda _: -5, "ValueError"), (lambda _: float("inf"), "ValueError")],
)
def test_a_wait_that_is_no_wait_is_a_reason_to_give_up(wait: Any, error: str) -> None:
    verdict = Restarts(RestartPolicy(wait=wait)).crashed(1.0, CRASH)
    assert verdict == GoDown(f"its restart policy failed: {error}")


def test_after_forget_it_counts_anew() -> None:
    restarts = Restarts(RestartPolicy(1, 100.0, tenacity.wait_exponential(multiplier=1)))
    restarts.crashed(0.0, CRASH)
    assert isinstance(restarts.crashed(1.0, CRASH), GoDown)
    restarts.forget()
    assert restarts.crashed(2.0, CRASH) == RestartAt(3.0)
    assert restarts.total == 2


def test_by_default_three_within_five_seconds_and_waits_of_at_most_half_a_minute() -> None:
    restarts = Restarts(RestartPolicy())
    verdicts = [restarts.crashed(float(now), CRASH) for now in range(4)]
    assert [type(verdict) for verdict in verdicts] == [RestartAt, RestartAt, RestartAt, GoDown]
    for now in range(100, 1100, 10):
        verdict = restarts.crashed(float(now), CRASH)
        assert isinstance(verdict, RestartAt)
        assert 0 < verdict.at - now <= 30.1


@given(
    st.lists(st.integers(0, 24).map(lambda eighths: eighths / 8)), st.integers(0, 4), st.sampled_from([0.5, 2.0, 8.0])
)
def test_never_more_than_intensity_restarts_within_a_period(gaps: list[float], intensity: int, period: float) -> None:
    restarts, now = Restarts(RestartPolicy(intensity, period, tenacity.wait_none())), 0.0
    restarted: list[float] = []
    for gap in gaps:
        now += gap
        lately = [at for at in restarted if at > now - period]
        verdict = restarts.crashed(now, CRASH)
        assert isinstance(verdict, GoDown) == (len(lately) >= intensity)
        if isinstance(verdict, RestartAt):
            restarted.append(now)
