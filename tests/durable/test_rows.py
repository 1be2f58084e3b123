"""What is written of a download, and what that is read as."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier import StoreUnavailable
from haulier._engine.core.entry import view
from haulier._engine.shells.rows import attempt_in, history_row, stored_in, written
from haulier._engine.storage.protocol import Row
from haulier._engine.ticket import Success, Ticket
from haulier.records import Attempt, Record

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MOMENTS = st.floats(0, 4e9)
NUMBERS = st.integers(0) | st.floats(0, allow_nan=False, allow_infinity=False)
CELLS = st.none() | st.dictionaries(
    st.sampled_from(["transferred", "size", "speed", "progress", "note"]), NUMBERS, min_size=1
)


def past(path: str = "/x", cell: Record | None = None, extras: Any = None) -> Success:
    ticket: Ticket = (
        "an-id",
        "tidal",
        "https://joe:hunter2@example.org",
        "A Song",
        "song.flac",
        "me",
        None,
        None,
        extras,
        10.0,
    )
    return (ticket, 1, 20.0, path, 30.0, cell)


def row_of(held: Success, **changes: Any) -> Row:
    phase, ended_on, record, tried = written(held)
    return Row("tidal", "an-id", 7, phase, ended_on, record, None, tried)._replace(**changes)


@given(TEXT, CELLS, MOMENTS, MOMENTS, st.none() | st.just(("title", "artist", "A", "B")))
def test_what_landed_is_read_as_it_was(path: str, cell: Any, started_on: float, on: float, extras: Any) -> None:
    ticket = past(extras=extras)[0]
    held = (ticket, 3, started_on, path, on, cell)
    row = row_of(held)
    assert "hunter2" not in row.record
    assert view(stored_in(row, None)) == view(held)
    assert written(stored_in(row, None)).record == row.record
    assert history_row(row).record == view(held)
    assert attempt_in(row) == Attempt("tidal", "an-id", 3, started_on, on, "succeed", None, None)


def test_what_cannot_be_written_down_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    row = row_of(past("/\ud83d\ude00", {"transferred": 5, "odd": object()}))
    record = history_row(row).record
    assert (record["file_path"], record["transferred"], "odd" in record) == (None, 5, False)
    assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]


def test_what_did_not_land_at_once_has_its_attempts_elsewhere() -> None:
    assert attempt_in(row_of(past(), record='{"id":"an-id"}')) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"record": "[1"},
        {"record": "[]"},
        {"record": "[1,2.0,null]"},
        {"record": '{"id'},
        {"ended_on": None},
    ],
)
def test_a_row_that_makes_no_sense_is_damage(changes: Any) -> None:
    row = row_of(past(), **changes)
    with pytest.raises(StoreUnavailable, match=r"damaged: .* an-id at tidal"):
        stored_in(row, None)
