"""Decide whether and when a crashed source restarts: intensity and back-off, after Erlang/OTP's supervisor."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import tenacity

from haulier._engine.core.retry import call_state
from haulier.policies import RestartPolicy, check_seconds

__all__ = ["GoDown", "RestartAt", "Restarts"]


class RestartAt(NamedTuple):
    """The source restarts at ``at`` (monotonic seconds)."""

    at: float


class GoDown(NamedTuple):
    """The source goes down because of ``reason``: too many crashes, or a restart policy that fails."""

    reason: str


class Restarts:
    """Counts the crashes of one source, and decides what follows the next one."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.total = 0
        """Restarts so far, over the whole life of the source."""
        self._recent: list[float] = []
        self._in_a_row = 0
        self._last = -inf

    def crashed(self, now: float, cause: BaseException) -> RestartAt | GoDown:
        """Count a crash at ``now`` (monotonic seconds) of ``cause``, and decide what follows."""
        policy = self.policy
        self._recent = [at for at in self._recent if at > now - policy.period]
        if len(self._recent) >= policy.intensity:
            return GoDown(f"more than {policy.intensity} restarts within {policy.period:g} s")
        self._in_a_row = 1 if now - self._last > policy.calm else self._in_a_row + 1
        self._last = now
        self._recent.append(now)
        try:
            wait_s = check_seconds("the restart policy's wait", policy.wait(_call_state(self._in_a_row, cause)))
        except BaseException as broken:
            return GoDown(f"its restart policy failed: {type(broken).__name__}")
        self.total += 1
        return RestartAt(now + wait_s)

    def forget(self) -> None:
        """Start counting anew, after ``revive``."""
        self._recent.clear()
        self._in_a_row = 0


def _call_state(in_a_row: int, cause: BaseException) -> tenacity.RetryCallState:
    outcome: tenacity.Future = tenacity.Future(in_a_row)
    outcome.set_exception(cause)
    return call_state(outcome, in_a_row, 0.0, 0.0, 0.0)
