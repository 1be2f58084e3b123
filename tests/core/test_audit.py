"""What got lost: downloads that nobody has any more, and what a supervisor has to be told again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tenacity

from haulier import messages as m
from haulier.core.entry import view
from haulier.core.ledger import Ledger
from haulier.core.outcome import Again, PutBack
from haulier.policies import RestartPolicy, Retention
from haulier.transfer import Transfer

ON = 1_000_000.0
Make = Callable[..., Any]


# ---- in the ledger ---------------------------------------------------------------------------------------------------


def ticket(download_id: str) -> m.Ticket:
    return (download_id, "tidal", None, "", "", "tidal", None, None, None, 10.0)


def ledger() -> Ledger:
    """One download in each phase, and a record that ``add_record`` made."""
    made = Ledger(Retention())
    made.apply(m.Put("tidal", "added", {"state": "InProgress"}))
    made.apply(ticket("queued"))
    transfers = [Transfer(ticket(each), 1, {}, 1.0, 20.0) for each in ("running", "waiting", "landed", "failed")]
    for transfer in transfers:
        made.apply(transfer.ticket)
        made.apply(transfer)
    made.apply(m.Moved("back_off", "tidal", "waiting", transfers[1], {"next_attempt_at": 40.0}, 30.0))
    made.apply(m.Landed(transfers[2], "x", 30.0))
    made.apply(m.Moved("fail", "tidal", "failed", transfers[3], {"error": "boom"}, 30.0))
    return made


def phases(it: Ledger) -> dict[str, Any]:
    return {each: view(held).get("phase") for each, held in it.buckets["tidal"].items()}


def test_what_the_engine_has_not_ended_is_unfinished() -> None:
    it = ledger()
    assert it.apply(m.Unfinished("tidal")) == ["queued", "running", "waiting"]
    assert it.apply(m.Unfinished("nowhere")) == []


def test_what_is_lost_fails_and_nothing_else_does() -> None:
    it = ledger()
    it.apply(m.Lost("tidal", [*phases(it), "unknown"], "interrupted: x", "Interrupted", 50.0))
    assert phases(it) == {
        "added": None, "queued": "failed", "running": "failed", "waiting": "failed", "landed": "succeeded",
        "failed": "failed",
    }  # fmt: skip
    for download_id in ("queued", "running", "waiting"):
        record = view(it.buckets["tidal"][download_id])
        assert (record["error"], record["error_type"], record["finished_at"]) == ("interrupted: x", "Interrupted", 50.0)
    assert view(it.buckets["tidal"]["failed"])["error"] == "boom"
    assert (it.counts["tidal"]["failed"], it.dead_letters) == (4, [])


# ---- at a source -----------------------------------------------------------------------------------------------------


def test_a_source_has_what_waits_and_what_runs(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.start()
    assert it.source.lost(["a", "b", "c"]) == ["c"]


def test_what_is_queued_already_comes_into_the_queue_no_second_time(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.source.settle(it.start(), Again(4.0, "reset", "OSError"), 0.0, ON)
    for download_id in ("a", "a", "b", "unknown"):
        it.source.retry_due(download_id)
    assert list(it.source.queue) == ["a", "b"]


def test_nothing_is_told_again_of_a_source_that_waits_for_nobody(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.start()
    it.source.remind(1.0)
    assert it.supervisor == []


def test_a_rest_after_a_crash_is_told_again(make: Make) -> None:
    it = make(restart=RestartPolicy(wait=tenacity.wait_fixed(2.0)))
    it.put("a")
    it.crash(it.start(), SystemExit(), 10.0)
    told = [m.Wake(it.source, 12.0, restart=True)]
    assert it.supervisor == told
    it.source.remind(11.0)
    assert it.supervisor == 2 * told


def test_a_back_off_is_told_again_until_it_is_over(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.settle(it.start(), Again(4.0, "reset", "OSError"), 10.0, ON)
    it.source.remind(11.0)
    told = 2 * [m.Retry(it.source, "a", 14.0)]
    assert it.supervisor == told
    it.source.retry_due("a")
    it.source.remind(15.0)
    assert it.supervisor == told


def test_what_was_put_back_waits_for_no_supervisor(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.settle(it.start(), PutBack(4.0), 10.0, ON)
    it.source.remind(11.0)
    assert it.supervisor == []


def test_an_attempt_with_a_time_out_is_guarded_again(make: Make) -> None:
    it = make(stall_timeout=8.0, timeout=100.0)
    it.put("a")
    transfer = it.start(10.0)
    it.source.remind(20.0)
    assert it.supervisor == [m.Guard(it.source, transfer, 12.0), m.Guard(it.source, transfer, 22.0)]
