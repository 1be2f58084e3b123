"""Is there another attempt? tenacity's stop, wait and retry objects decide; nothing here sleeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import tenacity

from haulier.policies import NEVER_RETRIED, RetryPolicy, check_seconds

__all__ = ["GiveUp", "RetryIn", "call_state", "decide"]


class RetryIn(NamedTuple):
    """Another attempt in ``seconds``."""

    seconds: float


class GiveUp(NamedTuple):
    """No further attempt."""


def decide(
    policy: RetryPolicy, attempt: int, result: Any, error: Exception | None, elapsed_s: float, idle_s: float
) -> RetryIn | GiveUp:
    """The verdict on an attempt (from 1) that gave ``result`` or raised ``error``.

    ``elapsed_s``: since the first attempt started. ``idle_s``: waited between attempts so far. Raises what the policy's
    own objects raise, and ``ValueError`` where the wait is not a finite number.
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
    # In tenacity's order: the wait first, since stop_before_delay looks at upcoming_sleep.
    state.upcoming_sleep = check_seconds("the retry policy's wait", policy.wait(state))
    return GiveUp() if policy.stop(state) else RetryIn(state.upcoming_sleep)


def call_state(
    outcome: tenacity.Future, attempt: int, start: float, end: float, idle_s: float
) -> tenacity.RetryCallState:
    """What tenacity's objects look at, made without running anything under tenacity."""
    state = tenacity.RetryCallState(retry_object=_RETRYING, fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    state.start_time = start
    state.outcome = outcome
    state.outcome_timestamp = end
    state.idle_for = idle_s
    return state


_RETRYING = tenacity.Retrying()
