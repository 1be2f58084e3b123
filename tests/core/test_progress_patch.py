"""Which patches go straight into a record's progress, and which must go through the store."""

from __future__ import annotations

from typing import Any

import pytest

from haulier._engine.core.entry import Entry
from haulier.records import Phase, State


def entry(phase: str | None = Phase.RUNNING, overlay: dict[str, Any] | None = None, **record: Any) -> Entry:
    """A record that runs, with no progress yet."""
    return Entry({"state": State.IN_PROGRESS, **record}, phase, {} if overlay is None else overlay)


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.parametrize("phase", [Phase.RUNNING, None])
def test_progress_is_laid_over_the_record(phase: str | None, is_durable: bool) -> None:
    it = entry(phase, overlay={"size": 9})
    assert it.accept_progress({"transferred": 5}, is_durable) is True
    assert (it.overlay, "transferred" in it.record) == ({"size": 9, "transferred": 5}, False)


def test_before_the_start_there_is_nothing_to_lay_it_over() -> None:
    it = Entry({"state": State.INITIALIZING}, Phase.QUEUED, None)
    assert it.accept_progress({"transferred": 5}, False) is False
    assert it.overlay is None


def test_a_phase_goes_through_the_store() -> None:
    it = entry()
    assert it.accept_progress({"phase": "mine", "transferred": 5}, False) is False
    assert it.overlay == {}


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.BACKING_OFF, Phase.SUCCEEDED])
def test_with_a_durable_store_only_a_running_download_is_patched_past_it(phase: str) -> None:
    it = entry(phase)
    assert it.accept_progress({"transferred": 5}, True) is False
    assert it.overlay == {}
    assert it.accept_progress({"transferred": 5}, False) is True


def test_with_a_durable_store_the_end_of_a_callers_own_record_is_written() -> None:
    it = entry(None, state=State.SUCCEEDED)
    assert it.accept_progress({"transferred": 5}, True) is False
    assert it.accept_progress({"transferred": 5}, False) is True


def test_a_change_of_state_goes_through_the_store() -> None:
    it = entry()
    assert it.accept_progress({"state": "Aborted", "transferred": 5}, False) is False
    assert it.overlay == {}


def test_a_state_that_changes_nothing_is_dropped() -> None:
    it, patch = entry(), {"state": State.IN_PROGRESS, "transferred": 5}
    assert it.accept_progress(patch, False) is True
    assert it.overlay == {"transferred": 5}
    assert patch == {"state": State.IN_PROGRESS, "transferred": 5}, "the caller's own dict is as it was"


def test_a_record_without_a_state_gets_one_through_the_store() -> None:
    it = Entry({}, None, {})
    assert it.accept_progress({"state": "Aborted"}, False) is False
    assert it.accept_progress({"state": None}, False) is True


def test_the_state_of_what_has_ended_is_dropped() -> None:
    it = entry(Phase.CANCELLED, state=State.CANCELLED)
    it.fixed = True
    assert it.accept_progress({"state": State.IN_PROGRESS, "transferred": 5}, False) is True
    assert it.overlay == {"transferred": 5}
