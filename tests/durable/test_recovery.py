"""What an engine finds on disk goes on: in its old order, where it was, and no sooner than it would have."""

from __future__ import annotations

import sys
import types
from time import time
from typing import Any

import pytest
import tenacity

from haulier import DownloadEngine, PermanentError, RetryPolicy, SourcePolicy, Throttled, Wanted
from haulier.policies import Retention

GUARD_S = 10.0
ONE_DAY = 86_400.0
INTERRUPTED = "interrupted: the program ended while it ran"


def fetch(download_id: str, target_id: Any, display_name: str) -> str:
    return f"/{target_id}"


def many(engine: DownloadEngine, count: int, source: str = "s", impl: Any = fetch) -> list[str]:
    return engine.worker.dispatch_many(source, [Wanted(n, "n", f"{n}.flac") for n in range(count)], impl)


def retry(attempts: int, wait_s: float = 0.0) -> RetryPolicy:
    return RetryPolicy(stop=tenacity.stop_after_attempt(attempts), wait=tenacity.wait_fixed(wait_s))


def record(engine: DownloadEngine, download_id: str) -> dict[str, Any]:
    found = engine.get_download_status(download_id)
    assert found is not None
    return found


def phases(engine: DownloadEngine, ids: list[str]) -> list[str]:
    return [record(engine, each)["phase"] for each in ids]


def a_day_passes(mailbox: Any, download_id: str) -> None:
    """The back-off of a download is over."""
    with mailbox.lock:
        mailbox.source.retry_due(download_id)
    mailbox.changed()


class Impl:
    """Does what it is told for each target, and remembers what it ran."""

    def __init__(self, **fates: Any) -> None:
        self.fates = fates
        self.ran: list[Any] = []
        self.transfers: list[Any] = []

    def __call__(self, download_id: str, target_id: Any, display_name: str, transfer: Any) -> str:
        self.ran.append(target_id)
        self.transfers.append(transfer)
        fate = self.fates.get(str(target_id))
        if isinstance(fate, list):
            fate = fate.pop(0) if fate else None
        if isinstance(fate, BaseException):
            raise fate
        return str(fate or f"/{target_id}")


# ---- what waited -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [True, False])
def test_what_waited_goes_on_in_its_order_once_its_source_is_registered(
    engine: DownloadEngine, durable: Any, gatekeeper: Any, killed: bool
) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = many(engine, 5, impl=None)
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
    assert phases(again, waiting) == ["queued"] * len(waiting)
    assert [again.explain(each)["reason"] for each in waiting] == ["unregistered"] * len(waiting)
    assert [again.explain(each)["position"] for each in waiting] == list(range(len(waiting)))
    impl = Impl()
    again.register_source("s", impl=impl)
    assert [again.wait(each, GUARD_S)["file_path"] for each in waiting] == [f"/{ids.index(each)}" for each in waiting]
    assert impl.ran == [ids.index(each) for each in waiting]


def test_the_order_is_kept_over_several_restarts(engine: DownloadEngine, durable: Any) -> None:
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
    ids = many(engine, 3, impl=None)
    while record(engine, ids[0]).get("next_attempt_at") is None:
        durable.settle()
    for _ in range(2):
        engine = durable.reopen()
        engine.register_source("s", impl=impl)
        status = engine.stats()["s"]
        assert status["queued"] == 3
        assert status["suspended_until"] == pytest.approx(record(engine, ids[0])["next_attempt_at"], abs=1.0)
        assert engine.explain(ids[0])["reason"] == "suspension"
        assert [engine.explain(each)["position"] for each in ids] == [0, 1, 2]
    assert impl.ran == [0]
    engine._system.mailboxes["s"].change(lambda source: setattr(source.gate, "suspended_until", 0.0))
    assert [engine.wait(each, GUARD_S)["file_path"] for each in ids] == ["/0", "/1", "/2"]
    assert (impl.ran, record(engine, ids[0])["attempt"]) == ([0, 0, 1, 2], 1)


def test_a_source_that_is_not_registered_keeps_what_it_has(engine: DownloadEngine, durable: Any) -> None:
    engine.pause("s")
    ids = many(engine, 2)
    again = durable.reopen()
    again.worker.set_concurrency("s", 1)
    again.worker.set_delay("s", 0)
    again.resume("s")
    again.close(drain=True)  # comes back, though these cannot end
    assert phases(again, ids) == ["queued"] * 2
    last = durable.open()
    last.register_source("s")
    assert [last.wait(each, GUARD_S)["file_path"] for each in ids] == ["/0", "/1"]


def test_a_dispatch_makes_a_source_known(engine: DownloadEngine, durable: Any) -> None:
    engine.pause("s")
    ids = many(engine, 2)
    again = durable.reopen()
    ids.append(again.worker.dispatch("s", 2, "n", "f", fetch))
    assert [again.wait(each, GUARD_S)["file_path"] for each in ids] == ["/0", "/1", "/2"]
    started = [record(again, each)["started_at"] for each in ids]
    assert started == sorted(started)


def test_it_waits_for_an_impl_if_it_needs_one(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s", impl=lambda *_: "/x")
    engine.pause("s")
    ids = many(engine, 2, impl=None)
    again = durable.reopen()
    again.register_source("s", SourcePolicy(concurrency=2))
    ids.append(again.worker.dispatch("s", 2, "n", "f", fetch))
    assert [again.explain(each)["reason"] for each in ids] == ["unregistered"] * 3
    again.register_source("s", impl=lambda *_: "/y")
    assert [again.wait(each, GUARD_S)["file_path"] for each in ids] == ["/y", "/y", "/2"]


def test_it_can_be_cancelled_before_its_source_is_registered(engine: DownloadEngine, durable: Any) -> None:
    engine.pause("s")
    ids = many(engine, 3)
    again = durable.reopen()
    assert again.cancel_download(ids[0])
    assert again.cancel_download(ids[1], remove=True)
    last = durable.reopen()
    last.register_source("s")
    assert last.wait(ids[2], GUARD_S)["file_path"] == "/2"
    assert record(last, ids[0])["phase"] == "cancelled"
    assert last.get_download_status(ids[1]) is None


# ---- what backed off -------------------------------------------------------------------------------------------------


def test_what_backed_off_waits_until_it_would_have(engine: DownloadEngine, durable: Any) -> None:
    impl = Impl(**{"0": [OSError("reset")] * 2})
    engine.register_source("s", SourcePolicy(retry=retry(5, ONE_DAY)), impl=impl)
    ids = many(engine, 2, impl=None)
    assert engine.wait(ids[1], GUARD_S)["phase"] == "succeeded"
    due_on = record(engine, ids[0])["next_attempt_at"]
    for _ in range(2):
        engine = durable.reopen()
        engine.register_source("s", SourcePolicy(retry=retry(5, 0.0)), impl=impl)
        explained = engine.explain(ids[0])
        assert (explained["phase"], explained["reason"]) == ("backing_off", "back-off")
        assert explained["earliest_start"] == pytest.approx(due_on, abs=1.0)
        assert record(engine, ids[0])["next_attempt_at"] == due_on
        assert record(engine, ids[0])["error"] == "reset"
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
    ids = many(engine, 3, impl=None)
    while phases(engine, ids) != ["backing_off"] * 3:
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
    (download_id,) = many(engine, 1, impl=None)
    for attempt in (1, 2, 3):
        while (record(engine, download_id)["attempt"], phases(engine, [download_id])) != (attempt, ["backing_off"]):
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
    engine: DownloadEngine, durable: Any, gatekeeper: Any, **policy: Any
) -> tuple[DownloadEngine, list[str]]:
    """A source with two that run and two that wait, killed."""
    engine.register_source("s", SourcePolicy(concurrency=2, **policy), impl=gatekeeper)
    ids = many(engine, 4, impl=None)
    gatekeeper.wait_inside(2)
    return durable.reopen(), ids


def test_what_ran_is_over(engine: DownloadEngine, durable: Any, gatekeeper: Any) -> None:
    again, ids = interrupted(engine, durable, gatekeeper)
    for _ in range(2):
        assert phases(again, ids) == ["failed", "failed", "queued", "queued"]
        over = again.wait(ids[0], 0)
        assert (over["state"], over["error"], over["error_type"]) == ("Errored", INTERRUPTED, "Interrupted")
        assert over["finished_at"] >= over["started_at"] > 0
        assert [(each.attempt, each.outcome, each.error) for each in again.attempts("s", ids[0])] == [
            (1, "interrupted", INTERRUPTED)
        ]
        assert {row.id for row in again.history(phase="failed")} == set(ids[:2])
        again = durable.reopen()


def test_what_ran_is_queued_again_where_the_source_says_so(
    engine: DownloadEngine, durable: Any, gatekeeper: Any
) -> None:
    again, ids = interrupted(engine, durable, gatekeeper, resume_interrupted=True)
    again = durable.reopen()  # killed once more before it could go on: that is no attempt
    assert phases(again, ids) == ["queued"] * 4
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
    engine: DownloadEngine, durable: Any, gatekeeper: Any
) -> None:
    """It may have been registered after its first download, or otherwise in an earlier life."""
    engine.pause("s")
    many(engine, 1, impl=fetch)
    engine = durable.open()
    engine.register_source("s", SourcePolicy(resume_interrupted=True), impl=gatekeeper)
    ids = many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    assert phases(durable.reopen(), ids) == ["queued"]


@pytest.mark.parametrize("before", [True, False])
def test_the_last_word_about_that_counts(engine: DownloadEngine, durable: Any, gatekeeper: Any, before: bool) -> None:
    engine.register_source("s", SourcePolicy(resume_interrupted=before), impl=gatekeeper)
    ids = many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    engine.register_source("s", SourcePolicy(resume_interrupted=not before))
    engine.update_record("s", ids[0], {"state": "Of its own"})
    assert phases(durable.reopen(), ids) == ["failed" if before else "queued"]


@pytest.mark.expect_errors("^Failed: ")
def test_an_interruption_is_an_attempt(engine: DownloadEngine, durable: Any, gatekeeper: Any) -> None:
    """Else what takes its process along would do so for ever."""
    policy = SourcePolicy(resume_interrupted=True, retry=retry(2))
    engine.register_source("s", policy, impl=gatekeeper)
    (download_id,) = many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    again = durable.reopen()
    again.register_source("s", policy, impl=Impl(**{"0": OSError("reset")}))
    last = again.wait(download_id, GUARD_S)
    assert (last["phase"], last["attempt"], last["error"]) == ("failed", 2, "reset")


def test_what_the_caller_wrote_over_the_engines_keys_does_not_matter(
    engine: DownloadEngine, durable: Any, gatekeeper: Any
) -> None:
    impl = Impl(**{"0": OSError("reset")})
    engine.register_source("s", SourcePolicy(retry=retry(9, ONE_DAY), resume_interrupted=True), impl=impl)
    engine.register_source("other", SourcePolicy(resume_interrupted=True), impl=gatekeeper)
    backs_off, runs = *many(engine, 1, impl=None), *many(engine, 1, "other", None)
    gatekeeper.wait_inside()
    while record(engine, backs_off)["phase"] != "backing_off":
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


# ---- delays ----------------------------------------------------------------------------------------------------------


def next_start(engine: DownloadEngine, **policy: Any) -> float:
    engine.register_source("s", SourcePolicy(delay=ONE_DAY, **policy), impl=fetch)
    start = engine.stats()["s"]["next_start"]
    assert start is not None
    return start


@pytest.mark.parametrize("since", ["end", "start"])
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_delay_is_waited_out_by_the_next_process(engine: DownloadEngine, durable: Any, since: Any, how: str) -> None:
    engine.register_source("s", impl=fetch)
    ended_on = engine.wait(many(engine, 1)[0], GUARD_S)["finished_at"]
    for _ in range(3):
        engine = durable.reopen() if how == "killed" else durable.open()
        assert next_start(engine, delay_from=since) == pytest.approx(ended_on + ONE_DAY, abs=1.0)
    many(engine, 1)
    assert engine.stats()["s"]["in_flight"] == 0


def test_an_interrupted_run_ended_with_its_process(engine: DownloadEngine, durable: Any, gatekeeper: Any) -> None:
    engine.register_source("s", impl=gatekeeper)
    many(engine, 2, impl=None)
    gatekeeper.wait_inside()
    before = time()
    engine = durable.reopen()
    start = next_start(engine)
    assert start >= before + ONE_DAY - 0.1
    engine = durable.reopen()
    assert next_start(engine) == pytest.approx(start, abs=1.0)


def test_a_cancelled_run_has_ended_when_its_impl_has(engine: DownloadEngine, durable: Any, gatekeeper: Any) -> None:
    engine.register_source("s", impl=gatekeeper)
    (download_id,) = many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    assert engine.cancel_download(download_id)
    durable.settle()
    [(last_end_on,)] = [gate[1:2] for gate in engine._system.store.storage.load().gates]  # type: ignore[attr-defined]
    assert last_end_on == float("inf"), "it runs still, and whoever comes after this process is to know"
    gatekeeper.release()
    second = many(engine, 1, impl=None)
    gatekeeper.wait_started(2)
    began = time()
    gatekeeper.open()
    ended_on = engine.wait(second[0], GUARD_S)["finished_at"]
    assert began <= ended_on
    again = durable.reopen()
    assert next_start(again) == pytest.approx(ended_on + ONE_DAY, abs=1.0)


def test_what_was_cancelled_and_ran_on_ended_with_its_process(
    engine: DownloadEngine, durable: Any, gatekeeper: Any
) -> None:
    engine.register_source("s", impl=gatekeeper)
    (download_id,) = many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    assert engine.cancel_download(download_id)
    before = time()
    again = durable.reopen()
    assert next_start(again) >= before + ONE_DAY - 0.1
    assert record(again, download_id)["phase"] == "cancelled"


def test_a_source_that_was_only_dispatched_to_waits_for_nothing(engine: DownloadEngine, durable: Any) -> None:
    engine.pause("s")
    (download_id,) = many(engine, 1)
    again = durable.reopen()
    again.register_source("s", SourcePolicy(delay=ONE_DAY))
    assert again.wait(download_id, GUARD_S)["phase"] == "succeeded"


def test_a_clock_that_was_set_back_makes_nobody_wait_for_ever(
    engine: DownloadEngine, durable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.register_source("s", impl=fetch)
    engine.wait(many(engine, 1)[0], GUARD_S)
    durable.kill()
    monkeypatch.setattr("haulier._engine.shells.recovery.time", lambda: time() - 400 * ONE_DAY)
    again = durable.open()
    assert next_start(again) <= time() + ONE_DAY


@pytest.mark.parametrize("what", ["suspension", "back-off"])
def test_what_is_to_be_waited_out_is_no_longer_when_the_clock_was_set_back(
    engine: DownloadEngine, durable: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fate = Throttled(retry_after=ONE_DAY) if what == "suspension" else OSError("it breaks")
    policy, impl = SourcePolicy(retry=retry(2, ONE_DAY)), Impl(**{"0": fate})
    engine.register_source("s", policy, impl=impl)
    (download_id,) = many(engine, 1, impl=None)
    while engine.explain(download_id)["reason"] != what:
        durable.settle()
    on = time()
    for clock in (on - 400 * ONE_DAY, on - 400 * ONE_DAY + 1):  # what was found out is written down
        durable.kill()
        monkeypatch.setattr("haulier._engine.shells.recovery.time", lambda clock=clock: clock)
        again = durable.open()
        again.register_source("s", policy, impl=impl)
        explained = again.explain(download_id)
        assert explained["reason"] == what
        assert ONE_DAY / 2 < explained["earliest_start"] - time() <= ONE_DAY
        again.update_record("s", download_id, {"note": clock})


# ---- records ---------------------------------------------------------------------------------------------------------


def test_records_are_as_they_were(engine: DownloadEngine, durable: Any, gatekeeper: Any) -> None:
    engine.register_source("s", SourcePolicy(concurrency=2), impl=gatekeeper)
    ids = many(engine, 4, impl=None)
    gatekeeper.wait_inside(2)
    engine.update_record("s", ids[2], {"note": ["while it waits"]})
    assert engine.update_record_unless_state("s", ids[3], {"title": "é"}, ("Errored",))
    gatekeeper.release()
    over = next(each for each in engine.as_completed(ids[:2], GUARD_S))
    engine.update_record("s", over["id"], {"note": "once it is over", "state": "InProgress"})
    engine.add_record("peer", "mine", {"state": "InProgress", "anything": {"a": 1}})
    engine.add_record("peer", "gone", {"state": "InProgress"})
    engine.add_record("peer", "ended", {"state": "InProgress"})
    engine.update_record("peer", "ended", {"state": "Completed, Succeeded"})
    assert engine.cancel_download("gone")
    before = {each["id"] if "id" in each else str(each): each for each in engine.get_all_downloads()}
    before = {key: each for key, each in before.items() if each.get("phase") != "running"}
    for _ in range(2):
        engine = durable.reopen()
        after = {each["id"] if "id" in each else str(each): each for each in engine.get_all_downloads()}
        for key, each in before.items():
            assert {**after[key], "reason": None} == {**each, "reason": None}
    assert engine.get_record("peer", "gone") == {"state": "Cancelled"}
    engine.update_record("peer", "mine", {"state": "Cancelled"})
    assert engine.clear_all_completed_downloads() == 6
    last = durable.reopen()
    assert {each.get("phase") for each in last.get_all_downloads()} == {"queued"}


def test_what_is_removed_does_not_come_back(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s", impl=fetch)
    ids = many(engine, 3)
    for each in ids:
        engine.wait(each, GUARD_S)
    engine.add_record("peer", "mine", {"state": "InProgress"})
    assert engine.remove_record("s", ids[0]) is not None
    assert engine.remove_record("peer", "mine") is not None
    again = durable.reopen()
    assert [each["id"] for each in again.get_all_downloads()] == ids[1:]
    assert again.clear_all_completed_downloads() == 2
    assert durable.reopen().get_all_downloads() == []


def test_progress_of_what_runs_is_there_within_a_second(
    engine: DownloadEngine, durable: Any, gatekeeper: Any, meddle: Any
) -> None:
    engine.register_source("s", impl=gatekeeper)
    (download_id,) = many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    engine.add_record("peer", "mine", {"state": "InProgress"})
    durable.settle()
    meddler = meddle(engine)
    for transferred in range(1000):
        engine.update_record("s", download_id, {"transferred": transferred, "state": "InProgress, Downloading"})
        engine.update_record("peer", "mine", {"transferred": transferred, "state": "InProgress"})
    assert meddler.arrived.wait(GUARD_S), "nobody else wrote"
    durable.settle()
    assert len(meddler.batches) <= 3, "not one for each patch"
    engine.update_record("s", download_id, {"transferred": 5000})
    engine.update_record("peer", "mine", {"transferred": 5000})
    count = len(meddler.batches)
    while len(meddler.batches) == count:
        meddler.arrived.clear()
        assert meddler.arrived.wait(GUARD_S)
        durable.settle()
    again = durable.reopen()
    assert record(again, download_id)["transferred"] == 5000
    assert again.get_record("peer", "mine") == {"state": "InProgress", "transferred": 5000}


def test_nobody_writes_where_nothing_happens(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    engine.register_source("s", impl=fetch)
    ids = many(engine, 3)
    for each in ids:
        engine.wait(each, GUARD_S)
    durable.settle()
    meddler = meddle(engine)
    engine.get_all_downloads()
    engine.stats()
    engine.history()
    engine.cancel_download(ids[0])
    engine.update_record("s", "unknown", {"x": 1})
    engine.remove_record("s", "unknown")
    durable.settle()
    assert meddler.batches == []


@pytest.mark.parametrize(
    ("value", "words"),
    [(b"x", "bytes"), (float("inf"), "inf"), ((1,), "tuple"), ({"a": {1}}, r"\['x'\]\['a'\]"), ({1: 2}, "the key 1")],
)
def test_a_value_that_cannot_be_written_is_refused_at_the_call(
    engine: DownloadEngine, durable: Any, value: Any, words: str
) -> None:
    engine.add_record("peer", "mine", {"state": "InProgress"})
    for call in (
        lambda: engine.add_record("peer", "other", {"x": value}),
        lambda: engine.update_record("peer", "mine", {"fine": 1, "x": value}),
        lambda: engine.update_record_unless_state("peer", "mine", {"x": value}, ()),
    ):
        with pytest.raises(TypeError, match=words) as caught:
            call()
        assert "['x']" in str(caught.value)
    assert engine.get_all_downloads() == [{"state": "InProgress"}]


def test_a_key_or_an_id_that_cannot_be_written_is_refused(engine: DownloadEngine) -> None:
    bad: Any = {5: "x"}
    with pytest.raises(TypeError, match="the key 5"):
        engine.add_record("peer", "mine", bad)
    with pytest.raises(TypeError, match="the key 5"):
        engine.update_record("peer", "mine", bad)
    with pytest.raises(TypeError, match="download_id"):
        engine.add_record("peer", 5, {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="source_name must not be longer than 1000 bytes"):
        many(engine, 1, source="ü" * 501)
    with pytest.raises(ValueError, match="source_name must not be longer than 1000 bytes"):
        engine.add_record("x" * 1001, "mine", {})
    with pytest.raises(ValueError, match="download_id must not be longer than 1000 bytes"):
        engine.add_record("peer", "\0" * 201, {})
    engine.add_record("x" * 1000, "\0" * 200, {})
    assert engine.remove_record("x" * 1000, "\0" * 200) == {}
    assert engine.get_all_downloads() == []


def test_what_an_impl_wrote_past_the_checks_is_left_out(
    engine: DownloadEngine, durable: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.register_source("s", impl=lambda transfer: transfer.cell.update(size={1}, note="fine") or "/x")
    (download_id,) = many(engine, 1, impl=None)
    engine.wait(download_id, GUARD_S)
    again = durable.reopen()
    after = record(again, download_id)
    assert (after["note"], after["file_path"], "size" in after) == ("fine", "/x", False)
    assert "record['size']: cannot be stored: set" in caplog.text


# ---- impls by name ---------------------------------------------------------------------------------------------------


@pytest.mark.expect_errors("^Failed: ")
def test_an_impl_that_is_gone_is_a_failed_attempt_that_says_so(engine: DownloadEngine, durable: Any) -> None:
    module = types.ModuleType("plugin_that_goes")
    exec("def fetch(*_): return '/x'\ndef other(*_): return '/y'\n", module.__dict__)
    sys.modules["plugin_that_goes"] = module
    engine.pause("s")
    ids = [engine.worker.dispatch("s", 1, "n", "f", each) for each in (module.fetch, module.other, module.other)]
    engine.worker.set_concurrency("s", 1)
    del module.fetch
    module.other = "no impl"  # type: ignore[attr-defined]
    again = durable.reopen()
    again.register_source("s")
    first, second, _ = [again.wait(each, GUARD_S) for each in ids]
    assert (first["phase"], first["error_type"], first["attempt"]) == ("failed", "ImportError", 1)
    assert first["error"].startswith("the impl that was dispatched as plugin_that_goes:fetch is not to be had: Attr")
    assert second["error"] == "what was dispatched as plugin_that_goes:other is no impl any longer: 'no impl'"
    del sys.modules["plugin_that_goes"]


def test_it_is_looked_for_again_at_the_next_attempt(engine: DownloadEngine, durable: Any) -> None:
    module = types.ModuleType("plugin_that_comes")
    exec("def fetch(*_): return '/x'\n", module.__dict__)
    sys.modules["plugin_that_comes"] = module
    engine.pause("s")
    download_id = engine.worker.dispatch("s", 1, "n", "f", module.fetch)
    del sys.modules["plugin_that_comes"]
    again = durable.reopen()
    again.register_source("s", SourcePolicy(retry=retry(10_000, 0.001)))
    while record(again, download_id)["attempt"] < 3:
        durable.settle()
    assert record(again, download_id)["error"].endswith("No module named 'plugin_that_comes'")
    sys.modules["plugin_that_comes"] = module
    assert again.wait(download_id, GUARD_S)["file_path"] == "/x"
    del sys.modules["plugin_that_comes"]


@pytest.mark.expect_errors("^Failed: ")
def test_a_permanent_error_stays_one(engine: DownloadEngine, durable: Any) -> None:
    engine.pause("s")
    ids = many(engine, 1, impl=fetch)
    again = durable.reopen(retention=Retention())
    again.register_source("s", SourcePolicy(retry=retry(5)))
    again.wait(ids[0], GUARD_S)
    again.register_source("s", impl=Impl(**{"0": PermanentError("gone")}))
    assert again.wait(many(again, 1, impl=None)[0], GUARD_S)["attempt"] == 1
