"""What an engine finds on disk continues in its old order, from where it was, and no sooner than before."""

from __future__ import annotations

from time import time
from typing import Any

import pytest
import tenacity
from tests.durable.downloads import ONE_DAY, Impl, dispatch_many, fetch, phases_of, record_of, retry
from tests.waiting import GUARD_S, Gatekeeper

from haulier import DownloadEngine, RetryPolicy, SourcePolicy, Throttled

INTERRUPTED = "interrupted: the program ended while it ran"


def a_day_passes(mailbox: Any, download_id: str) -> None:
    """The back-off of a download is over."""
    with mailbox.lock:
        mailbox.source.queue.retry_due(download_id)
    mailbox.changed()


# ---- what waited -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [True, False])
def test_what_waited_goes_on_in_its_order_once_its_source_is_registered(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, killed: bool
) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = dispatch_many(engine, 5, impl=None)
    gatekeeper.wait_inside()
    durable.settle()
    if not killed:
        gatekeeper.release()
        assert engine.wait(ids[0], GUARD_S)["phase"] == "succeeded"
        gatekeeper.wait_started(2)
        gatekeeper.release()
        engine.close()
    again = durable.reopen() if killed else durable.open()
    waiting = ids[1:] if killed else ids[2:]
    assert phases_of(again, waiting) == ["queued"] * len(waiting)
    assert [again.explain(each)["reason"] for each in waiting] == ["unregistered"] * len(waiting)
    assert [again.explain(each)["position"] for each in waiting] == list(range(len(waiting)))
    impl = Impl()
    again.register_source("s", impl=impl)
    assert [again.wait(each, GUARD_S)["file_path"] for each in waiting] == [f"/{ids.index(each)}" for each in waiting]
    assert impl.ran == [ids.index(each) for each in waiting]


def test_the_order_is_kept_over_several_restarts(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    expected = [f"{run}-{n}" for run in range(4) for n in range(3)]
    for run in range(4):
        ids = [engine.worker.dispatch("s", f"{run}-{n}", "n", "f", fetch) for n in range(3)]
        assert [record["id"] for record in engine.get_all_downloads()][-3:] == ids
        engine = durable.reopen() if run % 2 else durable.open()
        engine.pause("s")
    impl = Impl()
    engine.register_source("s", impl=impl)
    # What was dispatched with an impl of its own is found by its name, whatever the source has by now.
    everything = [each["id"] for each in engine.get_all_downloads()]
    assert [record["filename"] for record in engine.get_all_downloads()] == ["f"] * 12
    engine.resume("s")
    assert [engine.wait(each, GUARD_S)["file_path"] for each in everything] == [f"/{each}" for each in expected]
    started = sorted(engine.get_all_downloads(), key=lambda each: each["started_at"])
    assert ([each["id"] for each in started], impl.ran) == (everything, [])


def test_what_was_put_back_comes_first(engine: DownloadEngine, durable: Any) -> None:
    impl = Impl(**{"0": [Throttled(ONE_DAY)]})
    engine.register_source("s", impl=impl)
    ids = dispatch_many(engine, 3, impl=None)
    while record_of(engine, ids[0]).get("next_attempt_at") is None:
        durable.settle()
    for _ in range(2):
        engine = durable.reopen()
        engine.register_source("s", impl=impl)
        status = engine.stats()["s"]
        assert status["queued"] == 3
        assert status["suspended_until"] == pytest.approx(record_of(engine, ids[0])["next_attempt_at"], abs=1.0)
        assert engine.explain(ids[0])["reason"] == "suspension"
        assert [engine.explain(each)["position"] for each in ids] == [0, 1, 2]
    assert impl.ran == [0]
    engine._system.mailboxes["s"].change(lambda source: setattr(source.gate, "suspended_until", 0.0))
    assert [engine.wait(each, GUARD_S)["file_path"] for each in ids] == ["/0", "/1", "/2"]
    assert (impl.ran, record_of(engine, ids[0])["attempt"]) == ([0, 0, 1, 2], 1)


def test_a_source_that_is_not_registered_keeps_what_it_has(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    ids = dispatch_many(engine, 2)
    again = durable.reopen()
    again.worker.set_concurrency("s", 1)
    again.worker.set_delay("s", 0)
    again.resume("s")
    again.close(drain=True)  # comes back, though these cannot end
    assert phases_of(again, ids) == ["queued"] * 2
    last = durable.open()
    last.register_source("s")
    assert [last.wait(each, GUARD_S)["file_path"] for each in ids] == ["/0", "/1"]


def test_a_dispatch_makes_a_source_known(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    ids = dispatch_many(engine, 2)
    again = durable.reopen()
    ids.append(again.worker.dispatch("s", 2, "n", "f", fetch))
    assert [again.wait(each, GUARD_S)["file_path"] for each in ids] == ["/0", "/1", "/2"]
    started = [record_of(again, each)["started_at"] for each in ids]
    assert started == sorted(started)


def test_it_waits_for_an_impl_if_it_needs_one(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s", impl=lambda *_: "/x")
    engine.pause("s")
    ids = dispatch_many(engine, 2, impl=None)
    again = durable.reopen()
    again.register_source("s", SourcePolicy(concurrency=2))
    ids.append(again.worker.dispatch("s", 2, "n", "f", fetch))
    assert [again.explain(each)["reason"] for each in ids] == ["unregistered"] * 3
    again.register_source("s", impl=lambda *_: "/y")
    assert [again.wait(each, GUARD_S)["file_path"] for each in ids] == ["/y", "/y", "/2"]


def test_it_can_be_cancelled_before_its_source_is_registered(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    ids = dispatch_many(engine, 3)
    again = durable.reopen()
    assert again.cancel_download(ids[0])
    assert again.cancel_download(ids[1], remove=True)
    last = durable.reopen()
    last.register_source("s")
    assert last.wait(ids[2], GUARD_S)["file_path"] == "/2"
    assert record_of(last, ids[0])["phase"] == "cancelled"
    assert last.get_download_status(ids[1]) is None


# ---- what backed off -------------------------------------------------------------------------------------------------


def test_what_backed_off_waits_until_it_would_have(engine: DownloadEngine, durable: Any) -> None:
    impl = Impl(**{"0": [OSError("reset")] * 2})
    engine.register_source("s", SourcePolicy(retry=retry(5, ONE_DAY)), impl=impl)
    ids = dispatch_many(engine, 2, impl=None)
    assert engine.wait(ids[1], GUARD_S)["phase"] == "succeeded"
    due_on = record_of(engine, ids[0])["next_attempt_at"]
    for _ in range(2):
        engine = durable.reopen()
        engine.register_source("s", SourcePolicy(retry=retry(5, 0.0)), impl=impl)
        explained = engine.explain(ids[0])
        assert (explained["phase"], explained["reason"]) == ("backing_off", "back-off")
        assert explained["earliest_start"] == pytest.approx(due_on, abs=1.0)
        assert record_of(engine, ids[0])["next_attempt_at"] == due_on
        assert record_of(engine, ids[0])["error"] == "reset"
    mailbox = engine._system.mailboxes["s"]
    a_day_passes(mailbox, ids[0])
    assert engine.wait(ids[0], GUARD_S)["attempt"] == 3
    assert impl.ran == [0, 1, 0, 0]
    assert [(each.attempt, each.outcome) for each in engine.attempts("s", ids[0])] == [
        (1, "back_off"), (2, "back_off"), (3, "succeed"),
    ]  # fmt: skip


def test_what_is_due_by_then_comes_first_in_the_old_order(
    engine: DownloadEngine, durable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    impl = Impl(**{str(n): [OSError("reset")] for n in range(3)})
    engine.register_source("s", SourcePolicy(concurrency=3, retry=retry(5, ONE_DAY)), impl=impl)
    ids = dispatch_many(engine, 3, impl=None)
    while phases_of(engine, ids) != ["backing_off"] * 3:
        durable.settle()
    engine.pause("s")
    ids += [engine.worker.dispatch("s", n, "n", "f") for n in (3, 4)]
    durable.kill()
    monkeypatch.setattr("haulier._engine.shells.recovery.time", lambda: time() + 2 * ONE_DAY)
    again = durable.open()
    assert [again.explain(each)["position"] for each in ids] == [0, 1, 2, 3, 4]
    impl.ran.clear()
    again.register_source("s", SourcePolicy(retry=retry(5)), impl=impl)
    assert {again.wait(each, GUARD_S)["phase"] for each in ids} == {"succeeded"}
    assert impl.ran == [0, 1, 2, 3, 4]


@pytest.mark.expect_errors("^Failed: ")
def test_attempts_and_waits_count_on(engine: DownloadEngine, durable: Any) -> None:
    """tenacity's objects see one download, however many processes it took."""
    seen: list[tuple[int, float]] = []

    def stop(state: tenacity.RetryCallState) -> bool:
        seen.append((state.attempt_number, state.idle_for))
        starts.append(time() - (state.seconds_since_start or 0.0))
        return state.attempt_number == 4

    starts: list[float] = []
    impl = Impl(**{"0": OSError("reset")})
    policy = SourcePolicy(retry=RetryPolicy(stop=stop, wait=tenacity.wait_fixed(ONE_DAY)))
    engine.register_source("s", policy, impl=impl)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    for attempt in (1, 2, 3):
        while (found := record_of(engine, download_id))["attempt"] != attempt or found["phase"] != "backing_off":
            durable.settle()
        engine = durable.open()
        engine.register_source("s", policy, impl=impl)
        a_day_passes(engine._system.mailboxes["s"], download_id)
    last = engine.wait(download_id, GUARD_S)
    assert (last["phase"], last["attempt"], last["error"]) == ("failed", 4, "reset")
    assert seen == [(1, 0.0), (2, ONE_DAY), (3, 2 * ONE_DAY), (4, 3 * ONE_DAY)]
    assert max(starts) - min(starts) < 1.0, "the first start was one and the same"
    assert len(impl.ran) == 4


# ---- what ran --------------------------------------------------------------------------------------------------------


def interrupted(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, **policy: Any
) -> tuple[DownloadEngine, list[str]]:
    """A source with two that run and two that wait, killed."""
    engine.register_source("s", SourcePolicy(concurrency=2, **policy), impl=gatekeeper)
    ids = dispatch_many(engine, 4, impl=None)
    gatekeeper.wait_inside(2)
    return durable.reopen(), ids


def test_what_ran_is_over(engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper) -> None:
    again, ids = interrupted(engine, durable, gatekeeper)
    for _ in range(2):
        assert phases_of(again, ids) == ["failed", "failed", "queued", "queued"]
        over = again.wait(ids[0], 0)
        assert (over["state"], over["error"], over["error_type"]) == ("Errored", INTERRUPTED, "Interrupted")
        assert over["finished_at"] >= over["started_at"] > 0
        assert [(each.attempt, each.outcome, each.error) for each in again.attempts("s", ids[0])] == [
            (1, "interrupted", INTERRUPTED)
        ]
        assert {row.id for row in again.history(phase="failed")} == set(ids[:2])
        again = durable.reopen()


def test_what_ran_is_queued_again_where_the_source_says_so(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    again, ids = interrupted(engine, durable, gatekeeper, resume_interrupted=True)
    again = durable.reopen()  # killed once more before it could go on: that is no attempt
    assert phases_of(again, ids) == ["queued"] * 4
    assert [again.explain(each)["position"] for each in ids] == [0, 1, 2, 3]
    impl = Impl()
    again.register_source("s", SourcePolicy(resume_interrupted=True), impl=impl)
    assert [again.wait(each, GUARD_S)["attempt"] for each in ids] == [2, 2, 1, 1]
    assert impl.ran == [0, 1, 2, 3]
    assert [(each.attempt, each.outcome) for each in again.attempts("s", ids[0])] == [
        (1, "interrupted"),
        (2, "succeed"),
    ]


def test_that_a_source_resumes_is_known_before_anything_of_it_ends(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    """It may have been registered after its first download, or otherwise in an earlier life."""
    engine.register_source("s")
    engine.pause("s")
    dispatch_many(engine, 1, impl=fetch)
    engine = durable.open()
    engine.register_source("s", SourcePolicy(resume_interrupted=True), impl=gatekeeper)
    ids = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    assert phases_of(durable.reopen(), ids) == ["queued"]


@pytest.mark.parametrize("before", [True, False])
def test_the_last_word_about_that_counts(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, before: bool
) -> None:
    engine.register_source("s", SourcePolicy(resume_interrupted=before), impl=gatekeeper)
    ids = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    engine.register_source("s", SourcePolicy(resume_interrupted=not before))
    engine.update_record("s", ids[0], {"state": "Of its own"})
    assert phases_of(durable.reopen(), ids) == ["failed" if before else "queued"]


@pytest.mark.expect_errors("^Failed: ")
def test_an_interruption_is_an_attempt(engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper) -> None:
    """Else what takes its process along would do so for ever."""
    policy = SourcePolicy(resume_interrupted=True, retry=retry(2))
    engine.register_source("s", policy, impl=gatekeeper)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    again = durable.reopen()
    again.register_source("s", policy, impl=Impl(**{"0": OSError("reset")}))
    last = again.wait(download_id, GUARD_S)
    assert (last["phase"], last["attempt"], last["error"]) == ("failed", 2, "reset")


def test_what_the_caller_wrote_over_the_engines_keys_does_not_matter(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    impl = Impl(**{"0": OSError("reset")})
    engine.register_source("s", SourcePolicy(retry=retry(9, ONE_DAY), resume_interrupted=True), impl=impl)
    engine.register_source("other", SourcePolicy(resume_interrupted=True), impl=gatekeeper)
    backs_off, runs = *dispatch_many(engine, 1, impl=None), *dispatch_many(engine, 1, "other", None)
    gatekeeper.wait_inside()
    while record_of(engine, backs_off)["phase"] != "backing_off":
        durable.settle()
    rubbish: dict[str, Any] = {
        "attempt": "many",
        "started_at": None,
        "next_attempt_at": "soon",
        "queued_at": [],
        "id": 5,
    }
    engine.update_record("s", backs_off, rubbish)
    engine.add_record("other", runs, {"state": "mine"})
    again = durable.reopen()
    again.register_source("s", SourcePolicy(retry=retry(9)), impl=Impl())
    again.register_source("other", impl=Impl())
    assert again.explain(backs_off)["reason"] == "back-off"
    assert again.wait(runs, GUARD_S)["attempt"] == 2
