"""What an impl is given."""

from __future__ import annotations

from contextvars import copy_context

import pytest

from haulier import transfer as module
from haulier._engine.ticket import make_ticket
from haulier.errors import DownloadCancelled
from haulier.transfer import Transfer, current_transfer, running, set_current

TARGET = object()
TICKET = make_ticket("an-id", "tidal", TARGET, "A Song", "song.flac", "tidal")


@pytest.fixture
def transfer() -> Transfer:
    return Transfer(TICKET, 2, {}, started_at=100.0, started_on=5.0)


class Clock:
    now = 1_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", lambda: clock.now)
    return clock


def test_it_says_what_was_dispatched(transfer: Transfer) -> None:
    assert transfer.target_id is TARGET
    told = (transfer.download_id, transfer.source, transfer.display_name, transfer.filename, transfer.attempt)
    assert told == ("an-id", "tidal", "A Song", "song.flac", 2)
    assert repr(transfer) == "<Transfer an-id of tidal, attempt 2>"
    assert (transfer.deadline, transfer.cancelled, transfer.fenced) == (None, False, False)


def test_progress_goes_into_the_cell(transfer: Transfer, clock: Clock) -> None:
    transfer.progress(50, 200)
    assert transfer.cell == {"transferred": 50, "size": 200, "progress": 25.0}


def test_progress_of_an_unknown_size(transfer: Transfer, clock: Clock) -> None:
    transfer.progress(50)
    assert transfer.cell == {"transferred": 50}


def test_progress_is_never_above_a_hundred_percent(transfer: Transfer, clock: Clock) -> None:
    transfer.progress(300, 200)
    assert transfer.cell["progress"] == 100.0


def test_speed_is_sampled_four_times_a_second(transfer: Transfer, clock: Clock) -> None:
    transfer.progress(0, 1_000)
    clock.now += 0.125
    transfer.progress(100, 1_000)
    assert "speed" not in transfer.cell
    clock.now += 0.125
    transfer.progress(250, 1_000)
    assert (transfer.cell["speed"], transfer.cell["time_remaining"]) == (1_000, 0.75)
    clock.now += 0.25
    transfer.progress(500)
    assert (transfer.cell["speed"], transfer.cell["time_remaining"]) == (1_000, None)


def test_raise_if_cancelled(transfer: Transfer) -> None:
    transfer.raise_if_cancelled()
    transfer.cancelled = True
    with pytest.raises(DownloadCancelled, match="A Song is no longer wanted"):
        transfer.raise_if_cancelled()


def test_the_current_transfer_is_that_of_the_context(transfer: Transfer) -> None:
    def inside() -> None:
        set_current(transfer)
        assert current_transfer() is transfer
        assert running() is current_transfer()

    copy_context().run(inside)
    assert running() is None
    with pytest.raises(LookupError, match="no download runs on this thread"):
        current_transfer()
