"""Chaos in small: a few seeds of ``make chaos``, and that it would not be content with everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.audit import complaints
from tests.chaos.books import Books, Did, Fact
from tests.chaos.plan import Errand, draw_plan
from tests.chaos.report import FAULTS, PROMISES, table
from tests.chaos.round import play

from haulier import SourcePolicy
from haulier._engine.core.gate import Gate
from haulier._engine.core.source import Source
from haulier.records import Record
from haulier.transfer import Transfer

pytestmark = [pytest.mark.expect_errors, pytest.mark.timeout(180)]


def test_a_plan_is_its_seeds_and_nothing_elses() -> None:
    assert draw_plan(7, 3) == draw_plan(7, 3)
    assert draw_plan(7, 3).callers != draw_plan(8, 3).callers
    assert draw_plan(7, 3).callers != draw_plan(7, 4).callers


@pytest.mark.parametrize(("seed", "number"), [(1, 2), (2, 3), (3, 5), (19, 8)])
def test_a_round_of_chaos_breaks_no_promise(seed: int, number: int, tmp_path: Path) -> None:
    books = play(draw_plan(seed, number, size=0.4), tmp_path)
    assert books.broken == []
    assert books.peaks() == {1: 1, 2: 2, 3: 3, 4: 4}
    assert books.done["accepted"] > 200
    assert books.looks["limit"] > 200


# ---- it would have seen ----------------------------------------------------------------------------------------------


def run_one_too_many(real: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: Source, policy: SourcePolicy) -> None:
        real(self, policy)
        self.slots.limit += 1

    return apply


def start_too_early(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: real(self) - 0.003


def forget_a_cancel(real: Callable[..., Any]) -> Callable[..., Any]:
    def cancel(self: Source, download_id: str, on: float) -> bool:
        return self.queue.withdraw(download_id) or bool(real(self, download_id, on))

    return cancel


def lose_an_end(real: Callable[..., Any]) -> Callable[..., Any]:
    def crashed(self: Source, transfer: Transfer | None, cause: BaseException, now: float, on: float) -> None:
        if transfer is not None:
            transfer.fenced = True
        real(self, transfer, cause, now, on)

    return crashed


@pytest.mark.parametrize(
    ("where", "method", "harm", "promises"),
    [
        (Source, "apply", run_one_too_many, {"limit"}),
        (Gate, "opens_at", start_too_early, {"delay", "trace"}),
        (Source, "cancel", forget_a_cancel, {"truth", "hang"}),
        (Source, "crashed", lose_an_end, {"hang"}),
    ],
)
def test_what_breaks_a_promise_is_seen(
    where: type, method: str, harm: Any, promises: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(draw_plan(1, 0, size=0.25), traced=True, settles=True, closes_at=None)
    monkeypatch.setattr("tests.chaos.endings.GUARD_S", 1.0)
    monkeypatch.setattr(where, method, harm(getattr(where, method)))
    seen = {each.promise for each in play(plan, tmp_path).broken}
    assert promises <= seen


ENDED = {"phase": "succeeded", "state": "Completed, Succeeded", "file_path": "x", "error": None}
FAILED = {"phase": "failed", "state": "Errored", "error": "reset"}


@pytest.mark.parametrize(
    ("record", "did", "cancelled", "complaint"),
    [
        (ENDED, Did("landed", "x"), False, None),
        (FAILED, Did("failed", "reset"), False, None),
        (FAILED | {"error": "worker crash: 3"}, Did("crashed", "3"), False, None),
        (FAILED | {"error": "timed out after 1 s", "error_type": "TimeoutError"}, Did("landed", "x"), False, None),
        (ENDED | {"phase": "running"}, Did("landed", "x"), False, "never ended"),
        (ENDED | {"state": "Errored"}, Did("landed", "x"), False, "another state"),
        (ENDED, Did("landed", "x"), True, "was cancelled, and does not say so"),
        (ENDED, Did("landed", "y"), False, "another path"),
        (ENDED, Did("failed", "reset"), False, "another path"),
        (ENDED | {"error": "reset"}, Did("landed", "x"), False, "succeeded with an error"),
        ({"phase": "cancelled", "state": "Cancelled"}, Did("nothing", ""), False, "cancelled by nobody"),
        (FAILED | {"error": ""}, Did("failed", ""), False, "does not say why"),
        (FAILED, Did("failed", "gone"), False, "an error that nobody raised"),
        (FAILED, Did("landed", "x"), False, "its impl returned a path"),
        (FAILED | {"error": "engine closed"}, Did("nothing", ""), False, "nobody closed it"),
        (FAILED | {"error": "worker crash: 4"}, Did("crashed", "3"), False, "of what its source crashed"),
    ],
)
def test_a_record_that_is_not_so(record: Record, did: Did, cancelled: bool, complaint: str | None) -> None:
    fact = Fact("tidal", Errand(1, (), 0), accepted=True, cancelled=cancelled, dids=[did], runs=1)
    told = "; ".join(complaints(record, fact, closed=False))
    assert (complaint or "") in told
    assert bool(told) == (complaint is not None)


def test_a_summary_leaves_nothing_out() -> None:
    books = Books(())
    for counts in FAULTS.values():
        for each in counts:
            books.count(each)
    books.blame("hang", "something")
    told = "\n".join(table(books.done, books.looks, [each.promise for each in books.broken]))
    assert all(words in told for words in (*FAULTS, *(words for words, _ in PROMISES.values())))
    assert told.splitlines()[-2].split()[-1] == "1"
