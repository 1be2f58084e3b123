"""What is known of downloads whose records have left memory."""

from __future__ import annotations

from typing import Any

import pytest

from haulier._engine.core import departed
from haulier._engine.core.departed import MOST_DEPARTED, Departed
from haulier._engine.core.entry import Entry
from haulier._engine.core.ledger import Ledger
from haulier._engine.messages import Moved, Put, Remove, Succeeded, Watch
from haulier._engine.ticket import make_success, make_ticket
from haulier.policies import Retention
from haulier.records import Phase
from haulier.transfer import Transfer

SUCCESS = make_success(make_ticket("a", "s"), 1, 2.0, "a.bin", 3.0, {"size": 5})


def test_a_success_in_short() -> None:
    it = Departed()
    it.add("s", "a", SUCCESS)
    assert it.record("a") == {
        "id": "a", "source": "s", "state": "Completed, Succeeded", "phase": "succeeded", "file_path": "a.bin",
        "error_type": None, "finished_at": 3.0,
    }  # fmt: skip
    assert it.record("b") is None


def test_a_failure_in_short() -> None:
    it, entry = Departed(), Entry({"state": "Errored", "phase": "failed", "tags": [1]}, Phase.FAILED, {"size": 5})
    entry.record.update(error="reset", error_type="OSError", finished_at=4.0, file_path=None)
    it.add("s", "a", entry)
    assert it.record("a") == {
        "id": "a", "source": "s", "state": "Errored", "phase": "failed", "file_path": None, "error": "reset",
        "error_type": "OSError", "finished_at": 4.0,
    }  # fmt: skip


def test_a_record_of_a_caller_in_short() -> None:
    it = Departed()
    it.add("s", "a", Entry({"state": "Cancelled"}, None, {}))
    assert it.record("a") == {"id": "a", "source": "s", "state": "Cancelled"}


def test_only_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_DEPARTED == 50_000
    monkeypatch.setattr(departed, "MOST_DEPARTED", 2)
    it = Departed()
    for download_id in ("a", "b", "a", "c"):
        it.add("s", download_id, SUCCESS)
    assert [it.record(each) is None for each in "abc"] == [True, False, False]
    it.add("t", "b", SUCCESS)
    it.add("s", "d", SUCCESS)
    assert [it.record(each) is None for each in "bcd"] == [True, False, False]


# ---- in the ledger ---------------------------------------------------------------------------------------------------


def watched(ledger: Ledger, *ids: str) -> tuple[list[str], list[str]]:
    """The ids that have ended, says the ledger, and those that it does not know."""
    reply: Any = ledger.apply(Watch(ids, lambda _: None))
    return [each["id"] for each in reply.ended], reply.unknown


def run(ledger: Ledger, download_id: str, fails: bool = False) -> None:
    ticket = make_ticket(download_id, "s")
    transfer = Transfer(ticket, 1, {}, 0.0, 0.0)
    ledger.apply(ticket)
    ledger.apply(transfer)
    if fails:
        ledger.apply(Moved("fail", "s", download_id, transfer, {"error": "reset"}, 1.0))
    else:
        ledger.apply(Succeeded(transfer, f"{download_id}.bin", 1.0))


def test_who_waits_for_what_has_left_memory_hears_of_its_end() -> None:
    ledger = Ledger(Retention(max_terminal=1))
    for download_id in "abc":
        run(ledger, download_id, fails=download_id == "b")
    assert ledger.table.find(None, "a") is ledger.table.find(None, "b") is None
    assert watched(ledger, "a", "b", "c", "d") == (["a", "b", "c"], ["d"])
    reply: Any = ledger.apply(Watch(("b",), lambda _: None))
    assert reply.ended[0]["error"] == "reset"


def test_what_was_removed_is_unknown() -> None:
    ledger = Ledger(Retention())
    run(ledger, "a")
    ledger.apply(Remove("s", "a"))
    assert watched(ledger, "a") == ([], ["a"])


def test_a_record_that_is_there_goes_before_one_that_has_left() -> None:
    ledger = Ledger(Retention(max_terminal=0))
    run(ledger, "a")
    assert watched(ledger, "a") == (["a"], [])
    ledger.apply(Put("s", "a", {"id": "a", "state": "mine"}))
    assert watched(ledger, "a") == ([], [])
