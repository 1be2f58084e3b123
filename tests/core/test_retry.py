"""Whether there is another attempt: tenacity's objects decide."""

from __future__ import annotations

from typing import Any

import pytest
import tenacity

from haulier._engine.core.retry import GiveUp, RetryIn, decide
from haulier.errors import DownloadCancelled, PermanentError
from haulier.policies import RetryPolicy

RESET = OSError("reset")


def policy(**rules: Any) -> RetryPolicy:
    return RetryPolicy(**{"stop": tenacity.stop_never, "wait": tenacity.wait_fixed(2.0), **rules})


def verdict(
    retry: RetryPolicy, attempt: int = 1, result: Any = None, error: Exception | None = RESET, elapsed_s: float = 0.0
) -> RetryIn | GiveUp:
    return decide(retry, attempt, result, error, elapsed_s, 0.0)


def test_by_default_one_attempt() -> None:
    assert verdict(RetryPolicy()) == GiveUp(is_exhausted=True)
    assert verdict(RetryPolicy(), error=None) == GiveUp(is_exhausted=True)


def test_stop_after_attempt_counts_from_1() -> None:
    three = policy(stop=tenacity.stop_after_attempt(3))
    assert [type(verdict(three, attempt)) for attempt in (1, 2, 3, 4)] == [RetryIn, RetryIn, GiveUp, GiveUp]


def test_stop_after_delay_looks_at_the_time_since_the_first_start() -> None:
    minute = policy(stop=tenacity.stop_after_delay(60))
    assert verdict(minute, elapsed_s=59.0) == RetryIn(2.0)
    assert verdict(minute, elapsed_s=60.0) == GiveUp(is_exhausted=True)


def test_stop_before_delay_looks_at_the_next_wait_too() -> None:
    minute = policy(stop=tenacity.stop_before_delay(60))
    assert verdict(minute, elapsed_s=57.0) == RetryIn(2.0)
    assert verdict(minute, elapsed_s=58.0) == GiveUp(is_exhausted=True)


def test_retry_if_exception_type() -> None:
    only_os = policy(retry=tenacity.retry_if_exception_type(OSError))
    assert verdict(only_os) == RetryIn(2.0)
    assert verdict(only_os, error=KeyError("no")) == GiveUp(is_exhausted=False)
    assert verdict(only_os, error=None) == GiveUp()


@pytest.mark.parametrize("result", [None, ""])
def test_an_empty_result_is_a_failed_attempt(result: Any) -> None:
    assert verdict(policy(), error=None, result=result) == RetryIn(2.0)


def test_retry_if_result_sees_the_result() -> None:
    assert verdict(policy(retry=tenacity.retry_if_result(lambda r: r == "")), error=None, result="") == RetryIn(2.0)


@pytest.mark.parametrize("error", [PermanentError("gone"), DownloadCancelled("stop")])
def test_what_is_never_retried(error: Exception) -> None:
    assert verdict(policy(retry=tenacity.retry_always), error=error) == GiveUp()


def test_waits_see_the_attempt_and_chain() -> None:
    chain = policy(wait=tenacity.wait_chain(*(tenacity.wait_fixed(s) for s in (1, 5, 30))))
    assert [verdict(chain, attempt) for attempt in (1, 2, 3, 4)] == [RetryIn(1), RetryIn(5), RetryIn(30), RetryIn(30)]
    sum_of_two = policy(wait=tenacity.wait_fixed(1) + tenacity.wait_exponential(multiplier=2, max=10))
    assert [verdict(sum_of_two, attempt) for attempt in (1, 2, 9)] == [RetryIn(3.0), RetryIn(5.0), RetryIn(11.0)]


def test_rules_see_what_tenacity_shows_them() -> None:
    seen: list[tuple[Any, ...]] = []

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        seen.append((state.attempt_number, state.seconds_since_start, state.idle_for, state.outcome.exception()))
        assert state.outcome.attempt_number == state.attempt_number
        assert (state.fn, state.args, state.kwargs) == (None, (), {})
        assert isinstance(state.retry_object, tenacity.BaseRetrying)
        return 1.0

    assert decide(policy(wait=wait), 4, None, RESET, 30.0, 12.0) == RetryIn(1.0)
    assert seen == [(4, 30.0, 12.0, RESET)]


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1])
def test_a_wait_that_is_no_number_of_seconds(wait: float) -> None:
    with pytest.raises(ValueError, match="wait"):
        verdict(policy(wait=lambda _: wait))


def test_what_a_rule_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        verdict(policy(stop=lambda _: 1 / 0))


def test_the_default_wait_doubles_up_to_a_minute() -> None:
    waits = [verdict(RetryPolicy(stop=tenacity.stop_never), attempt) for attempt in (1, 2, 3, 20)]
    for wait, least in zip(waits, (1, 2, 4, 60), strict=True):
        assert isinstance(wait, RetryIn)
        assert least <= wait.seconds <= least + 1
