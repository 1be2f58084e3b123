"""What every storage does with the batches that it is given."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from tests.storage.stored import stored_ids, stored_rows

from haulier._engine.storage import Attempt, Batch, Change, GateRow, Row, Storage
from haulier._engine.storage.codec import LONGEST, decode, encode

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
    assert len(stored_rows(storage)) == len(keys) - len(ODD_NAMES) - 1


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
    assert len(stored_rows(storage)) == 2000


# ---- the parts of a batch --------------------------------------------------------------------------------------------


def test_a_change_leaves_the_place_and_until_it_is_over_the_ticket(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1, ticket='["t"]'), make.row("tidal", "b", 2)]))
    storage.write(Batch(changed=[Change("tidal", "a", "running", None, '{"x":0}', "[1]")]))
    assert stored_rows(storage)[0] == Row("tidal", "a", 1, "running", None, '{"x":0}', '["t"]', "[1]")
    storage.write(Batch(changed=[Change("tidal", "a", "failed", 9.5, '{"x":1}', "[1]")]))
    first, second = stored_rows(storage)
    assert first == Row("tidal", "a", 1, "failed", 9.5, '{"x":1}', None, "[1]")
    assert second == make.row("tidal", "b", 2)


def test_a_change_of_what_is_not_there_changes_nothing(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    storage.write(
        Batch(changed=[Change("tidal", "b", "failed", 1.0, "{}", None), Change("qobuz", "a", None, 1.0, "", None)])
    )
    assert stored_rows(storage) == [make.row("tidal", "a", 1)]


def test_the_last_change_of_a_batch_wins(storage: Storage, make: Any) -> None:
    changes = [Change("tidal", "a", "running", None, f"[{n}]", None) for n in range(5)]
    storage.write(Batch(added=[make.row("tidal", "a", 1)], changed=changes))
    assert stored_rows(storage)[0].record == "[4]"


def test_added_again_it_is_another_row_and_listed(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.ended("tidal", "a", 1, 3.0)], attempts=[make.attempt("tidal", "a", 1)]))
    storage.write(Batch(unlisted=[("tidal", "a")]))
    assert stored_rows(storage) == []
    anew = make.row("tidal", "a", 2, record="[2]", ticket=None)
    storage.write(Batch(added=[anew]))
    assert stored_rows(storage) == [anew]
    assert storage.history() == []
    assert storage.attempts("tidal", "a") == [make.attempt("tidal", "a", 1)]
    storage.write(Batch(added=[make.row("qobuz", "b", 1)]))  # its old place is free again
    assert [row.source for row in stored_rows(storage)] == ["qobuz", "tidal"]


def test_the_same_id_at_two_sources_is_two_rows(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1), make.row("qobuz", "a", 2)]))
    storage.write(Batch(forgotten=[("tidal", "a")], changed=[Change("qobuz", "a", "running", None, "{}", None)]))
    assert [(row.source, row.phase) for row in stored_rows(storage)] == [("qobuz", "running")]


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
    assert stored_ids(storage) == ["a", "c"]
    assert [row.id for row in storage.history()] == ["c", "b", "a"]
    assert storage.attempts("tidal", "b") == [make.attempt("tidal", "b", 1)]


def test_what_is_forgotten_is_gone_with_its_attempts(storage: Storage, make: Any) -> None:
    added = [make.ended("tidal", id_, seq, 5.0) for seq, id_ in enumerate("ab", 1)]
    attempts = [make.attempt("tidal", id_, 1) for id_ in "ab"]
    storage.write(Batch(added=added, attempts=attempts, forgotten=[("tidal", "b"), ("tidal", "no such")]))
    assert stored_ids(storage) == ["a"]
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
        assert stored_rows(storage) == []
        assert [(row.id, row.phase) for row in storage.history()] == [("a", "failed")]
        assert len(storage.attempts("tidal", "a")) == 1
        assert storage.attempts("tidal", "b") == []


def test_an_empty_batch_is_fine(storage: Storage) -> None:
    storage.write(Batch())
    assert stored_rows(storage) == []


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
    assert stored_ids(storage) == ["a"]
    assert storage.load().gates == []
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert stored_ids(place.again()) == ["a", "b"]


def test_the_next_seq_is_above_every_row_that_is_there(storage: Storage, make: Any) -> None:
    storage.write(Batch(added=[make.row("tidal", "a", 1), make.ended("tidal", "b", 9, 5.0), make.row("tidal", "c", 4)]))
    storage.write(Batch(unlisted=[("tidal", "b")]))
    assert storage.load().next_seq == 10
    storage.write(Batch(forgotten=[("tidal", "b")]))
    assert storage.load().next_seq == 5
    storage.write(Batch(forgotten=[("tidal", "a"), ("tidal", "c")], added=[make.row("tidal", "d", -3)]))
    assert storage.load().next_seq == 1
