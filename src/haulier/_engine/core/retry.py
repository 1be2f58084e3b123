"""Decide whether a download gets another attempt. tenacity's stop, wait and retry objects decide; nothing sleeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import tenacity

from haulier.policies import NEVER_RETRIED, RetryPolicy, check_seconds

__all__ = ["GiveUp", "RetryIn", "call_state", "decide"]


class RetryIn(NamedTuple):
    """The next attempt starts in ``seconds``."""

    seconds: float


class GiveUp(NamedTuple):
    """There is no further attempt."""

    is_exhausted: bool = False
    """Whether the policy's ``retry`` asks for another attempt, which its ``stop`` does not allow."""


def decide(
    policy: RetryPolicy, attempt: int, result: Any, error: Exception | None, elapsed_s: float, idle_s: float
) -> RetryIn | GiveUp:
    """Decide what follows an attempt (numbered from 1) that returned ``result`` or raised ``error``.

    ``elapsed_s``: seconds since the first attempt started. ``idle_s``: seconds waited between attempts so far.
    Passes on what the policy's own objects raise. Raises ValueError if their wait is not a finite number.
    """
    if isinstance(error, NEVER_RETRIED):
        return GiveUp()
    outcome: tenacity.Future = tenacity.Future(attempt)
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
    state = call_state(outcome, attempt, 0.0, elapsed_s, idle_s)
    if not policy.retry(state):
        return GiveUp()
    # tenacity's own order: the wait comes first, since stop_before_delay reads upcoming_sleep.
    state.upcoming_sleep = check_seconds("the retry policy's wait", policy.wait(state))
    return GiveUp(is_exhausted=True) if policy.stop(state) else RetryIn(state.upcoming_sleep)


def call_state(
    outcome: tenacity.Future, attempt: int, start: float, end: float, idle_s: float
) -> tenacity.RetryCallState:
    """Make the state that tenacity's objects read, without running anything under tenacity."""
    state = tenacity.RetryCallState(retry_object=_RETRYING, fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    state.start_time = start
    state.outcome = outcome
    state.outcome_timestamp = end
    state.idle_for = idle_s
    return state


_RETRYING = tenacity.Retrying()
