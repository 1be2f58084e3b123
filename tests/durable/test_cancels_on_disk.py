"""A cancel that returned True is on disk, or the call raises ``StoreUnavailable``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.durable.downloads import dispatch_many, fetch, on_disk, phases_of
from tests.waiting import Gatekeeper, wait_until

from haulier import DownloadEngine, SourcePolicy, StoreUnavailable
from haulier._engine import messages as m

PHASES = "SELECT phase FROM downloads ORDER BY seq"

Cancel = Callable[[DownloadEngine, str], object]

CANCELS: dict[str, Cancel] = {
    "cancel_download": lambda engine, each: engine.cancel_download(each),
    "with a hint": lambda engine, each: engine.cancel_download(each, "s"),
    "and remove": lambda engine, each: engine.cancel_download(each, remove=True),
    "update_record_unless_state": lambda engine, each: engine.update_record_unless_state(
        "s", each, {"state": "Cancelled"}
    ),
    "remove_record": lambda engine, each: engine.remove_record("s", each),
}

unwell = pytest.mark.expect_errors("the store cannot write; trying again", "the last changes are lost")


@pytest.fixture(params=CANCELS)
def cancel(request: pytest.FixtureRequest) -> Cancel:
    return CANCELS[request.param]


def try_again(engine: DownloadEngine) -> None:
    """Have the store come to its next try now."""
    store: Any = engine._system.store
    store._retry_at = 0.0
    store.ask(m.Sync())
    store.ask(m.Sync())
    assert store.failure is None


def test_it_is_on_disk_when_the_call_returns(engine: DownloadEngine, durable: Any, cancel: Cancel) -> None:
    engine.register_source("s")
    engine.pause("s")
    [download_id] = dispatch_many(engine, 1)
    assert cancel(engine, download_id)
    assert on_disk(durable, PHASES) == ["cancelled"]


@unwell
@pytest.mark.parametrize("runs", [False, True], ids=["queued", "running"])
def test_while_the_file_is_away_the_call_raises(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, cancel: Cancel, runs: bool
) -> None:
    path: Path = durable.path
    engine.register_source("s", impl=gatekeeper)
    if not runs:
        engine.pause("s")
    [download_id] = dispatch_many(engine, 1, impl=None)
    if runs:
        gatekeeper.wait_inside()
    durable.settle()
    aside = path.with_suffix(".aside")
    path.rename(aside)
    with pytest.raises(StoreUnavailable, match=r"cancelled in this engine.*removed or replaced"):
        cancel(engine, download_id)
    assert not engine.cancel_download(download_id), "it has ended"
    aside.rename(path)
    try_again(engine)
    assert on_disk(durable, PHASES) == ["cancelled"]
    gatekeeper.open()


@unwell
def test_killed_before_it_is_written_the_download_starts_again(
    engine: DownloadEngine, durable: Any, meddle: Any
) -> None:
    """So True would have been wrong."""
    engine.register_source("s")
    engine.pause("s")
    [download_id] = dispatch_many(engine, 1)
    meddle(engine).fail()
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        engine.cancel_download(download_id)
    again = durable.reopen()
    assert phases_of(again, [download_id]) == ["queued"]
    again.cancel_download(download_id)


@unwell
def test_where_nothing_is_written_nothing_raises(engine: DownloadEngine, meddle: Any) -> None:
    engine.register_source("volatile", SourcePolicy(durable=False), fetch)
    engine.pause("volatile")
    engine.add_record("peer", "mine", {"state": "InProgress"})
    ids = dispatch_many(engine, 3, "volatile", None)
    meddler = meddle(engine)
    meddler.fail()
    with pytest.raises(StoreUnavailable):
        dispatch_many(engine, 1)
    assert engine.cancel_download(ids[0])
    assert engine.update_record_unless_state("volatile", ids[1], {"state": "Cancelled"})
    assert engine.remove_record("volatile", ids[2])
    assert not engine.cancel_download("unknown")
    meddler.heal()


@unwell
def test_a_record_that_a_program_added_is_no_exception(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    for each in ("one", "other"):
        engine.add_record("peer", each, {"state": "InProgress"})
    meddler = meddle(engine)
    meddler.fail()
    with pytest.raises(StoreUnavailable, match="not on disk yet"):
        engine.cancel_download("one")
    with pytest.raises(StoreUnavailable, match="not on disk yet"):
        engine.update_record_unless_state("peer", "other", {"state": "Cancelled"})
    assert engine.update_record_unless_state("peer", "other", {"note": 1})
    meddler.heal()
    try_again(engine)
    assert [record["state"] for record in durable.reopen().get_all_downloads()] == ["Cancelled"] * 2


def test_one_cancel_waits_for_what_others_write(engine: DownloadEngine, durable: Any, at_once: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    ids = dispatch_many(engine, 40)
    assert at_once(*(lambda each=each: engine.cancel_download(each) for each in ids)) == [True] * 40
    assert on_disk(durable, PHASES) == ["cancelled"] * 40
    wait_until(lambda: engine.stats()["s"]["cancelled"] == 40, "the counts")
