"""One record: what the news of a download amount to."""

from __future__ import annotations

from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, Stored, entry_of, phase_of, record_of, success_of, view
from haulier._engine.ticket import Success, Ticket, make_ticket
from haulier.transfer import Transfer


def ticket(*extras: Any) -> Ticket:
    return make_ticket("an-id", "tidal", object(), "A Song", "song.flac", "me", fields=extras or None, queued_at=10.0)


def running(attempt: int = 1) -> Transfer:
    return Transfer(ticket(), attempt, {}, started_at=1.0, started_on=20.0)


def landed(transfer: Transfer) -> Success:
    return success_of(m.Succeeded(transfer, "a/song.flac", 30.0))


@pytest.mark.parametrize(
    ("held", "phase"),
    [
        (ticket(), "queued"),
        (running(), "running"),
        (landed(running()), "succeeded"),
        (entry_of(ticket()), "queued"),
        (entry_of(running()), "running"),
        (entry_of(landed(running())), "succeeded"),
        (Entry({"phase": "whatever"}, None, {}), None),
    ],
)
def test_the_phase_of_all_that_is_held(held: Stored, phase: str | None) -> None:
    assert phase_of(held) == phase


def test_a_record_of_what_landed_says_all_that_it_went_through() -> None:
    transfer = running(attempt=2)
    transfer.cell.update(transferred=40, size=40, speed=7)
    record = view(landed(transfer))
    assert [record[f"{what}_at"] for what in ("queued", "started", "finished")] == [10.0, 20.0, 30.0]
    assert record["attempt"] == 2
    assert (record["file_path"], record["transferred"], record["size"], record["speed"]) == ("a/song.flac", 40, 40, 7)


def test_extra_fields_do_not_say_in_which_phase_it_is() -> None:
    record = record_of(ticket("url", "phase", "http://x", "succeeded"))
    assert (record["url"], record["phase"]) == ("http://x", "queued")


def test_a_success_after_a_failed_attempt_says_nothing_of_the_failure() -> None:
    entry = entry_of(running())
    entry.move("backing_off", {"error": "reset", "error_type": "OSError"}, 30.0)
    entry.start(running(attempt=2))
    entry.move("succeeded", {"file_path": "x"}, 50.0)
    assert (entry.record["error"], entry.record["error_type"]) == (None, None)
