"""History, pruning, opening and closing work alike in every storage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.storage.stored import stored_ids

from haulier import StoreLocked, StoreUnavailable
from haulier._engine.storage import Batch, Cursor, GateRow, Row, Storage
from haulier._engine.storage.memory import MemoryStorage

# ---- history ---------------------------------------------------------------------------------------------------------


def test_history_is_newest_first_and_has_only_what_is_over(storage: Storage, make: Any) -> None:
    added = [make.ended("tidal", "a", 1, 7.0), make.row("tidal", "b", 2), make.ended("tidal", "c", 3, 6.0)]
    twins = [make.ended("tidal", "d", 5, 6.5), make.ended("tidal", "e", 4, 6.5)]
    bare = make.ended("tidal", "f", 6, 1.0)._replace(phase=None)
    storage.write(Batch(added=[*added, *twins, bare]))
    assert [row.id for row in storage.history()] == ["a", "d", "e", "c", "f"]
    assert [row.id for row in storage.history(limit=2)] == ["a", "d"]
    assert storage.history(limit=0) == []
    assert storage.history()[1].cursor == Cursor(6.5, 5)


def test_giving_up_on_what_answers_harms_no_row(place: Any, make: Any) -> None:
    storage = place.open()
    storage.write(Batch(added=[make.ended("tidal", "a", 1, 7.0)]))
    storage.interrupt()
    assert [row.id for row in place.again().history()] == ["a"]


def test_history_of_one_source_or_phase(storage: Storage, make: Any) -> None:
    phases = ["succeeded", "failed", "cancelled"]
    added = [make.ended(f"s{n % 2}", f"d{n}", n, float(n), phases[n % 3]) for n in range(12)]
    storage.write(Batch(added=added))
    assert [row.seq for row in storage.history(source="s1")] == [11, 9, 7, 5, 3, 1]
    assert [row.seq for row in storage.history(phase="failed")] == [10, 7, 4, 1]
    assert [row.seq for row in storage.history("s1", "failed", limit=1)] == [7]
    assert [row.seq for row in storage.history("s1", "failed", Cursor(7.0, 7))] == [1]
    assert storage.history(source="s2") == []


def test_pages_of_history_stay_as_they_were_while_new_ones_come(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.ended("tidal", f"d{n}", n, float(n // 3)) for n in range(30)]))
    seen: list[int] = []
    before = None
    while page := storage.history(before=before, limit=7):
        seen += [row.seq for row in page]
        before = page[-1].cursor
        storage.write(Batch(added=[make.ended("tidal", f"late{len(seen)}", 100 + len(seen), 1e6 + len(seen))]))
        storage.write(Batch(unlisted=[("tidal", f"d{page[-1].seq}")]))
    assert seen == list(range(29, -1, -1))


# ---- pruning ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def aged(storage: Storage, make: Any) -> Storage:
    """Ten rows of history, d0 the oldest, each with an attempt; two that are listed; one unlisted that is not over."""
    over = [make.ended("tidal", f"d{n}", n, float(n // 2)) for n in range(10)]
    listed = [make.ended("tidal", "listed", 10, -5.0), make.row("tidal", "waits", 11)]
    odd = make.row("tidal", "odd", 12)
    attempts = [make.attempt("tidal", row.id, 1) for row in over]
    unlisted = [("tidal", row.id) for row in [*over, odd]]
    storage.write(Batch(added=[*over, *listed, odd], attempts=attempts, unlisted=unlisted))
    return storage


@pytest.mark.parametrize(
    ("max_rows", "before_on", "gone"),
    [
        (None, None, 0),
        (10, None, 0),
        (11, None, 0),
        (7, None, 3),
        (0, None, 10),
        (None, -1.0, 0),
        (None, 2.0, 4),
        (None, 2.5, 6),
        (None, 99.0, 10),
        (7, 2.0, 4),
        (3, 2.0, 7),
        (1000, 1.0, 2),
    ],
)
def test_prune_takes_the_oldest_of_what_is_unlisted(
    aged: Storage, make: Any, max_rows: int | None, before_on: float | None, gone: int
) -> None:
    assert aged.prune(max_rows, before_on) == gone
    assert [row.id for row in aged.history()] == [f"d{n}" for n in range(9, gone - 1, -1)] + ["listed"]
    assert stored_ids(aged) == ["listed", "waits"]
    assert aged.prune(max_rows, before_on) == 0
    aged.write(Batch(added=[make.row("tidal", f"d{n}", 100 + n) for n in range(10)]))
    assert [len(aged.attempts("tidal", f"d{n}")) for n in range(10)] == [0] * gone + [1] * (10 - gone)


# ---- opening and closing ---------------------------------------------------------------------------------------------


def test_what_was_written_is_there_when_it_is_opened_again(place: Any, make: Any, everything: Any) -> None:
    storage = place.open()
    storage.write(Batch(added=[make.ended("tidal", f"d{n}", n, float(n)) for n in range(20)]))
    storage.write(Batch(unlisted=[("tidal", "d3")], gates=[GateRow("tidal", 1.0, None, True)]))
    storage.write(Batch(attempts=[make.attempt("tidal", "d4", 1)], forgotten=[("tidal", "d5")]))
    before = everything(storage)
    assert everything(place.again()) == before


def test_closed_twice_is_fine_and_then_nothing_goes(storage: Storage) -> None:
    storage.close()
    storage.close()
    for call in (
        storage.load,
        storage.history,
        lambda: storage.attempts("tidal", "a"),
        lambda: storage.write(Batch(gates=[GateRow("tidal", 1.0, None, True)])),
        lambda: storage.prune(0, None),
        storage.shrink,
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


def test_one_engine_at_a_time(durable: Any, make: Any) -> None:
    storage = durable.open()
    with pytest.raises(StoreLocked, match="another engine"):
        durable.open()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    assert stored_ids(durable.again()) == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_batch_that_is_broken_off_is_not_written(
    durable: Any, make: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    storage = durable.open()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    each, calls = storage._each, []

    def broken(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise error
        each(*arguments)

    monkeypatch.setattr(storage, "_each", broken)
    batch = Batch(
        added=[make.row("tidal", "b", 2)], attempts=[make.attempt("tidal", "a", 1)], forgotten=[("tidal", "a")]
    )
    with pytest.raises(error):
        storage.write(batch)
    monkeypatch.undo()
    assert stored_ids(storage) == ["a"]
    storage.write(batch)
    assert stored_ids(storage) == ["b"]
    assert stored_ids(durable.again()) == ["b"]


def test_a_message_names_the_place(durable: Any) -> None:
    storage = durable.open()
    name = {"sqlite": "haulier.db", "postgres": "the engine 't"}[durable.kind]
    assert name in repr(storage)
    with pytest.raises(StoreLocked, match=name):
        durable.open()
    storage.close()
    with pytest.raises(StoreUnavailable, match=name):
        storage.load()


def test_memory_is_json_as_well() -> None:
    """The reference keeps what it was given, text by text."""
    storage = MemoryStorage()
    storage.write(Batch(added=[Row("s", "i", 1, None, 5.0, json.dumps({"a": 1}), None, None)]))
    assert storage.history()[0].record == '{"a": 1}'
