"""What every storage does, whatever it is made of."""

from __future__ import annotations

import json
import random
import string
from typing import Any

import pytest

from haulier import StoreLocked, StoreUnavailable
from haulier._engine.storage import Attempt, Batch, Change, Cursor, GateRow, Row, Storage
from haulier._engine.storage.codec import LONGEST, decode, encode
from haulier._engine.storage.memory import MemoryStorage

ODD_NAMES = [
    "",
    " ",
    "a'b\"c;--",
    "nul\0in it",
    "half \udc80 a pair",
    "\x1a",
    "\x1a0000",
    "Ünïcödé 🎵",
    "%s :id $1 ?1",
    "a\nb",
    "".join(random.Random(0).choices(string.ascii_letters, k=LONGEST)),  # at random: PostgreSQL packs what is not
]


def rows(storage: Storage) -> list[Row]:
    return list(storage.load().rows)


def ids(storage: Storage) -> list[str]:
    return [row.id for row in storage.load().rows]


# ---- what is written is there ----------------------------------------------------------------------------------------


def test_a_new_storage_has_nothing(storage: Storage) -> None:
    loaded = storage.load()
    assert (list(loaded.rows), loaded.gates, loaded.next_seq) == ([], [], 1)
    assert storage.history() == []
    assert storage.attempts("tidal", "a") == []
    assert storage.prune(0, 1e12) == 0


def test_every_field_comes_back_as_it_was(place: Any) -> None:
    full = Row("tidal", "a", 7, "failed", 1234567890.123456, '{"id":"a"}', '["a",null]', '{"attempts":2}')
    bare = Row("tidal", "b", 2**62, None, None, "{}", None, None)
    tried = [
        Attempt("tidal", "a", 1, 0.1, 0.2, "failed", "no\nroute", "OSError"),
        Attempt("tidal", "a", 2, None, None, "", None, None),
    ]
    gates = [GateRow("tidal", 0.1, 0.30000000000000004, True), GateRow("youtube", None, None, False)]
    place.open().write(Batch(added=[bare, full], attempts=tried, gates=gates))
    storage = place.again()
    loaded = storage.load()
    assert list(loaded.rows) == [full, bare]
    assert loaded.gates == gates
    assert [type(gate.resume_interrupted) for gate in loaded.gates] == [bool, bool]
    assert loaded.next_seq == 2**62 + 1
    assert storage.attempts("tidal", "a") == tried
    assert storage.attempts("tidal", "b") == []
    assert (storage.find("tidal", "a"), storage.find("tidal", "c")) == (full, None)
    [over] = storage.history()
    assert over == full


def test_odd_names_are_names_like_any_other(place: Any, make: Any) -> None:
    storage = place.open()
    keys = [(source, id_) for source in ODD_NAMES for id_ in ODD_NAMES]
    added = [make.ended(*key, seq, 5.0, key[1]) for seq, key in enumerate(keys, 1)]
    tried = [Attempt(*key, 1, 1.0, 2.0, key[0], key[1], key[0]) for key in keys]
    storage.write(Batch(added=added, attempts=tried, gates=[GateRow(name, 1.0, None, True) for name in ODD_NAMES]))
    storage = place.again()
    loaded = storage.load()
    assert list(loaded.rows) == added
    assert sorted(gate.source for gate in loaded.gates) == sorted(ODD_NAMES)
    assert [storage.attempts(*key) for key in keys] == [[one] for one in tried]
    for name in ODD_NAMES:
        assert {row.source for row in storage.history(source=name)} == {name}
        assert {row.phase for row in storage.history(phase=name)} == {name}
        assert len(storage.history(source=name, phase=name)) == 1
    storage.write(Batch(forgotten=[(name, name) for name in ODD_NAMES], unlisted=[(ODD_NAMES[3], ODD_NAMES[4])]))
    assert len(rows(storage)) == len(keys) - len(ODD_NAMES) - 1


def test_records_come_back_from_history_as_they_were(storage: Storage, make: Any) -> None:
    record = {"text": "nul \0, half \udc80, 🎵", "numbers": [1, -0.5, 2**70, True, None], "nested": {"": {"a": []}}}
    storage.write(Batch(added=[make.ended("tidal", "a", 1, 5.0)._replace(record=encode("record", record))]))
    assert decode(storage.history()[0].record) == record


def test_rows_come_in_the_order_of_their_seq_over_many_pages(storage: Storage, make: Any) -> None:
    seqs = [(seq * 7919) % 2503 for seq in range(2503)]
    storage.write(Batch(added=[make.row("tidal", f"d{seq}", seq) for seq in seqs]))
    assert [row.seq for row in storage.load().rows] == list(range(2503))


def test_rows_of_a_whole_number_of_pages_are_all_there(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", f"d{seq}", seq) for seq in range(2000)]))
    assert len(rows(storage)) == 2000


# ---- the parts of a batch --------------------------------------------------------------------------------------------


def test_a_change_leaves_the_place_and_until_it_is_over_the_ticket(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1, ticket='["t"]'), make.row("tidal", "b", 2)]))
    storage.write(Batch(changed=[Change("tidal", "a", "running", None, '{"x":0}', "[1]")]))
    assert rows(storage)[0] == Row("tidal", "a", 1, "running", None, '{"x":0}', '["t"]', "[1]")
    storage.write(Batch(changed=[Change("tidal", "a", "failed", 9.5, '{"x":1}', "[1]")]))
    first, second = rows(storage)
    assert first == Row("tidal", "a", 1, "failed", 9.5, '{"x":1}', None, "[1]")
    assert second == make.row("tidal", "b", 2)


def test_a_change_of_what_is_not_there_changes_nothing(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    storage.write(
        Batch(changed=[Change("tidal", "b", "failed", 1.0, "{}", None), Change("qobuz", "a", None, 1.0, "", None)])
    )
    assert rows(storage) == [make.row("tidal", "a", 1)]


def test_the_last_change_of_a_batch_wins(storage: Storage, make: Any) -> None:
    changes = [Change("tidal", "a", "running", None, f"[{n}]", None) for n in range(5)]
    storage.write(Batch(added=[make.row("tidal", "a", 1)], changed=changes))
    assert rows(storage)[0].record == "[4]"


def test_added_again_it_is_another_row_and_listed(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.ended("tidal", "a", 1, 3.0)], attempts=[make.attempt("tidal", "a", 1)]))
    storage.write(Batch(unlisted=[("tidal", "a")]))
    assert rows(storage) == []
    anew = make.row("tidal", "a", 2, record="[2]", ticket=None)
    storage.write(Batch(added=[anew]))
    assert rows(storage) == [anew]
    assert storage.history() == []
    assert storage.attempts("tidal", "a") == [make.attempt("tidal", "a", 1)]
    storage.write(Batch(added=[make.row("qobuz", "b", 1)]))  # its old place is free again
    assert [row.source for row in rows(storage)] == ["qobuz", "tidal"]


def test_the_same_id_at_two_sources_is_two_rows(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1), make.row("qobuz", "a", 2)]))
    storage.write(Batch(forgotten=[("tidal", "a")], changed=[Change("qobuz", "a", "running", None, "{}", None)]))
    assert [(row.source, row.phase) for row in rows(storage)] == [("qobuz", "running")]


def test_an_attempt_again_replaces_what_was_written_of_it(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1)], attempts=[make.attempt("tidal", "a", n) for n in (2, 1)]))
    storage.write(Batch(attempts=[make.attempt("tidal", "a", 2, "late"), make.attempt("tidal", "a", 10)]))
    assert storage.attempts("tidal", "a") == [
        make.attempt("tidal", "a", 1),
        make.attempt("tidal", "a", 2, "late"),
        make.attempt("tidal", "a", 10),
    ]


def test_an_attempt_of_what_is_not_there_is_not_kept(storage: Storage, make: Any) -> None:
    storage.write(Batch(attempts=[make.attempt("tidal", "a", 1)]))
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    assert storage.attempts("tidal", "a") == []


def test_what_is_unlisted_is_history(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.ended("tidal", id_, seq, 5.0) for seq, id_ in enumerate("abc", 1)]))
    storage.write(Batch(unlisted=[("tidal", "b"), ("tidal", "no such")], attempts=[make.attempt("tidal", "b", 1)]))
    assert ids(storage) == ["a", "c"]
    assert [row.id for row in storage.history()] == ["c", "b", "a"]
    assert storage.attempts("tidal", "b") == [make.attempt("tidal", "b", 1)]


def test_what_is_forgotten_is_gone_with_its_attempts(storage: Storage, make: Any) -> None:
    added = [make.ended("tidal", id_, seq, 5.0) for seq, id_ in enumerate("ab", 1)]
    attempts = [make.attempt("tidal", id_, 1) for id_ in "ab"]
    storage.write(Batch(added=added, attempts=attempts, forgotten=[("tidal", "b"), ("tidal", "no such")]))
    assert ids(storage) == ["a"]
    assert [row.id for row in storage.history()] == ["a"]
    storage.write(Batch(added=[added[1]]))
    assert (storage.attempts("tidal", "a"), storage.attempts("tidal", "b")) == ([attempts[0]], [])


def test_a_gate_is_set_whole(storage: Storage) -> None:
    storage.write(Batch(gates=[GateRow("tidal", 1.0, 2.0, True), GateRow("qobuz", 1.0, 2.0, True)]))
    storage.write(Batch(gates=[GateRow("tidal", None, 3.0, False), GateRow("tidal", None, 4.0, False)]))
    assert storage.load().gates == [GateRow("qobuz", 1.0, 2.0, True), GateRow("tidal", None, 4.0, False)]


def test_a_batch_is_written_in_order(storage: Storage, make: Any) -> None:
    """All six parts say something of the same download."""
    everything = Batch(
        added=[make.row("tidal", "a", 1), make.row("tidal", "b", 2)],
        changed=[Change("tidal", id_, "failed", 5.0, "{}", None) for id_ in "ab"],
        attempts=[make.attempt("tidal", id_, 1) for id_ in "ab"],
        unlisted=[("tidal", "a"), ("tidal", "b")],
        forgotten=[("tidal", "b")],
    )
    for _ in range(2):  # again, as after a failure, it comes to the same
        storage.write(everything)
        assert rows(storage) == []
        assert [(row.id, row.phase) for row in storage.history()] == [("a", "failed")]
        assert len(storage.attempts("tidal", "a")) == 1
        assert storage.attempts("tidal", "b") == []


def test_an_empty_batch_is_fine(storage: Storage) -> None:
    storage.write(Batch())
    assert rows(storage) == []


def test_two_rows_of_one_seq_are_refused_and_nothing_is_written(place: Any, make: Any) -> None:
    storage = place.open()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    for added in (
        [make.row("tidal", "b", 2), make.row("tidal", "c", 1)],
        [make.row("x", "b", 3), make.row("x", "c", 3)],
    ):
        with pytest.raises(ValueError, match="not written") as raised:
            storage.write(Batch(added=added, gates=[GateRow("tidal", 1.0, None, True)]))
        assert "seq" in str(raised.value)
        assert "\n" not in str(raised.value)
    assert ids(storage) == ["a"]
    assert storage.load().gates == []
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert ids(place.again()) == ["a", "b"]


def test_the_next_seq_is_above_every_row_that_is_there(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1), make.ended("tidal", "b", 9, 5.0), make.row("tidal", "c", 4)]))
    storage.write(Batch(unlisted=[("tidal", "b")]))
    assert storage.load().next_seq == 10
    storage.write(Batch(forgotten=[("tidal", "b")]))
    assert storage.load().next_seq == 5
    storage.write(Batch(forgotten=[("tidal", "a"), ("tidal", "c")], added=[make.row("tidal", "d", -3)]))
    assert storage.load().next_seq == 1


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
    assert ids(aged) == ["listed", "waits"]
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
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


def test_one_engine_at_a_time(durable: Any, make: Any) -> None:
    storage = durable.open()
    with pytest.raises(StoreLocked, match="another engine"):
        durable.open()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    assert ids(durable.again()) == ["a"]


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
    assert ids(storage) == ["a"]
    storage.write(batch)
    assert ids(storage) == ["b"]
    assert ids(durable.again()) == ["b"]


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
