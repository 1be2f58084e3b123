"""Count attempts without progress, so that a download that gets further is not given up on.

An attempt makes progress if the partial file that it leaves is larger than any that an earlier attempt left. A download
that has to start from the beginning each time makes none, so it ends.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final

import tenacity

from haulier.fetchers.faults import FetchError
from haulier.policies import TenacityRule
from haulier.transfer import Transfer

__all__ = ["count_try", "without_progress"]

TRIES: Final = "tries"
"""The record's key for the number of attempts in a row without progress."""

MOST_KEPT: Final = "most_kept"
"""The record's key for the bytes of the largest partial file that an attempt left."""


def count_try(transfer: Transfer, failure: BaseException, found: int, kept: int) -> None:
    """Count a failed attempt that found ``found`` bytes of an earlier one and left ``kept`` bytes for the next one.

    If ``failure`` is a ``FetchError``, its ``tries`` becomes the count.
    """
    cell = transfer.cell
    most = max(cell.get(MOST_KEPT, 0), found)
    if kept > most:
        cell[MOST_KEPT], cell[TRIES] = kept, 0
    elif isinstance(failure, FetchError):
        cell[MOST_KEPT], cell[TRIES] = most, cell.get(TRIES, 0) + 1
    if isinstance(failure, FetchError):
        failure.tries = cell[TRIES]


def without_progress(rule: TenacityRule) -> TenacityRule:
    """Let a ``stop`` or ``wait`` of ``RetryPolicy`` count only attempts without progress.

    The rule sees the number of attempts in a row without progress, 0 after progress. For example,
    ``without_progress(tenacity.stop_after_attempt(4))`` gives up on a download after four attempts in a row that leave
    no more of it. Only the fetchers of haulier count these. Failures of other impls count as always.
    """

    def counted(state: tenacity.RetryCallState) -> Any:
        error = None if state.outcome is None else state.outcome.exception()
        if isinstance(error, FetchError) and error.tries is not None:
            state = copy(state)
            state.attempt_number = error.tries
        return rule(state)

    return counted
