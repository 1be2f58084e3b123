"""Count attempts without progress, so that a download that gets further is not given up on.

An attempt makes progress if the partial file that it leaves is larger than any that an earlier attempt left. A download
that has to start from the beginning each time makes none, so it ends.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any, Final

import tenacity

from haulier.fetchers.faults import FetchError, NotYet
from haulier.fetchers.speed import TooSlow
from haulier.policies import RetryPolicy
from haulier.transfer import Transfer

__all__ = ["count_try", "retry_by_progress"]

TRIES: Final = "tries"
"""The record's key for the number of attempts in a row without progress."""

MOST_KEPT: Final = "most_kept"
"""The record's key for the bytes of the largest partial file that an attempt left."""


def count_try(transfer: Transfer, failure: BaseException, found: int, kept: int) -> None:
    """Count a failed attempt that found ``found`` bytes of an earlier one and left ``kept`` bytes for the next one.

    If ``failure`` is a ``FetchError``, its ``tries`` becomes the count. ``Throttled`` and ``NotYet`` are not counted.
    ``TooSlow`` is always counted: a server that dribbles makes progress for ever.
    """
    cell = transfer.cell
    counts = isinstance(failure, FetchError) and not isinstance(failure, NotYet)
    most = max(cell.get(MOST_KEPT, 0), found)
    if kept > most and not isinstance(failure, TooSlow):
        cell[MOST_KEPT], cell[TRIES] = kept, 0
    elif counts:
        cell[MOST_KEPT], cell[TRIES] = max(most, kept), cell.get(TRIES, 0) + 1
    if isinstance(failure, FetchError) and counts:
        failure.tries = cell[TRIES]


def retry_by_progress(policy: RetryPolicy) -> RetryPolicy:
    """Let ``policy`` count only attempts without progress, so that a download that gets further is not given up on.

    Its ``stop`` and ``wait`` see the number of attempts in a row without progress, 0 after progress. For example, with
    ``stop=tenacity.stop_after_attempt(4)`` a download fails after four attempts in a row that leave no more of it.
    After ``HostBusy`` and ``FileBusy`` the next attempt follows soon, and ``stop`` is not asked. This is
    for the fetchers of haulier. The failures of other impls count as always.
    """

    def stop(state: tenacity.RetryCallState) -> Any:
        return not isinstance(_error(state), NotYet) and policy.stop(_counted(state))

    def wait(state: tenacity.RetryCallState) -> Any:
        error = _error(state)
        return error.retry_in_s if isinstance(error, NotYet) else policy.wait(_counted(state))

    return replace(policy, stop=stop, wait=wait)


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _counted(state: tenacity.RetryCallState) -> tenacity.RetryCallState:
    error = _error(state)
    if isinstance(error, FetchError) and error.tries is not None:
        state = copy(state)
        state.attempt_number = error.tries
    return state
