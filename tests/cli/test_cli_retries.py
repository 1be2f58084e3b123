"""``--retries`` as a retry policy: what counts, what does not, and what 0 means."""

from __future__ import annotations

import pytest
import tenacity

from haulier._cli.get.settings import SourceSettings
from haulier.fetchers.http import FetchError, FileBusy, HostBusy


def goes_on(retries: int, error: Exception, attempt: int = 1) -> bool:
    """Whether the policy of ``--retries`` would retry a download whose attempt failed so."""
    policy = SourceSettings(retries=retries).policy.retry
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = tenacity.Future(attempt)
    state.outcome.set_exception(error)
    return bool(policy.retry(state)) and not policy.stop(state)


def failed(tries: int) -> FetchError:
    error = FetchError("connection closed")
    error.tries = tries
    return error


@pytest.mark.parametrize(("tries", "again"), [(0, True), (1, True), (3, True), (4, False)])
def test_three_retries_follow_the_last_progress(tries: int, again: bool) -> None:
    assert goes_on(3, failed(tries), attempt=40) is again


@pytest.mark.parametrize("tries", [0, 1])
def test_no_retries_are_none_even_after_progress(tries: int) -> None:
    assert not goes_on(0, failed(tries))


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("busy", [HostBusy(1.0, "full"), FileBusy(1.0, "held")])
def test_what_is_busy_is_waited_for_however_often(busy: Exception, retries: int) -> None:
    assert goes_on(retries, busy, attempt=40)
