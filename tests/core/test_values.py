"""Copies of what is in a record: ``behaviour.md#calls``."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from haulier._engine.core.entry import Entry, entry_of, view
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.values import MOST_LEVELS, are_plain, own
from haulier._engine.messages import Patch, Put, Succeeded
from haulier._engine.ticket import make_ticket
from haulier.policies import Retention
from haulier.records import Phase
from haulier.transfer import Transfer


class Str(str):
    """Not a plain str: it may have attributes that change."""


@pytest.mark.parametrize(
    ("values", "plain"),
    [([], True), (["a", 1, 1.0, True, None], True), ([[]], False), ([()], False), ([Str()], False), ([b""], False)],
)
def test_what_never_changes(values: list[Any], plain: bool) -> None:
    assert are_plain(values) is plain


def test_a_record_of_plain_values_is_copied_once() -> None:
    record = {"a": 1}
    copy = own(record)
    assert (copy, copy is record) == (record, False)
    assert type(own(MappingProxyType({"a": []}))) is dict
    assert type(own(MappingProxyType({"a": 1}))) is dict


def test_containers_are_copied_however_deep() -> None:
    inner: list[Any] = [1]
    record = {"list": [inner], "dict": {"k": inner}, "tuple": ("t", inner), "set": {1}, "bytes": bytearray(b"b")}
    copy = own(record)
    assert copy == record
    inner.append(2)
    record["set"].add(2)  # type: ignore[attr-defined]
    record["bytes"].append(2)  # type: ignore[attr-defined]
    assert copy == {"list": [[1]], "dict": {"k": [1]}, "tuple": ("t", [1]), "set": {1}, "bytes": bytearray(b"b")}
    assert [type(each) for each in copy.values()] == [list, dict, tuple, set, bytearray]


def test_one_container_stays_one() -> None:
    shared: list[Any] = []
    copy = own({"a": shared, "b": shared, "c": {"d": shared}, "e": {1: 2}})
    assert copy["a"] is copy["b"] is copy["c"]["d"]
    both: dict[str, Any] = {"k": {}}
    twice = own({"a": both, "b": both})
    assert twice["a"] is twice["b"]


def test_a_container_may_contain_itself() -> None:
    a_list: list[Any] = []
    a_list.append((a_list,))
    a_dict: dict[str, Any] = {}
    a_dict["self"] = a_dict
    copy = own({"list": a_list, "dict": a_dict})
    assert copy["list"][0][0] is copy["list"] is not a_list
    assert copy["dict"]["self"] is copy["dict"] is not a_dict


def nested(levels: int, kind: Any = list) -> Any:
    value: Any = kind()
    for _ in range(levels - 1):
        value = kind([value]) if kind is not dict else {"k": value}
    return value


@pytest.mark.parametrize("kind", [list, dict, tuple])
def test_more_levels_than_a_reader_could_follow_are_refused(kind: Any) -> None:
    assert own({"a": nested(MOST_LEVELS, kind)}) == {"a": nested(MOST_LEVELS, kind)}
    why = "^the value of 'a' has lists or dicts in one another on more than 100 levels$"
    with pytest.raises(ValueError, match=why):
        own({"b": [], "a": nested(MOST_LEVELS + 1, kind)})


def test_a_tuple_that_is_there_often_is_copied_once() -> None:
    inner: list[Any] = []
    twice: Any = (inner, inner)
    for _ in range(60):
        twice = (twice, twice)
    copy = own({"a": twice})["a"]
    assert copy[0] is copy[1]
    while isinstance(copy, tuple):
        copy = copy[0]
    assert copy == []
    assert copy is not inner


def test_any_other_object_is_shared() -> None:
    one = object()
    assert own({"a": [one], "b": one}) == {"a": [one], "b": one}


# ---- records ---------------------------------------------------------------------------------------------------------


def ticket(**fields: Any) -> tuple[Any, ...]:
    return make_ticket("a", "s", fields=(*fields, *fields.values()) if fields else None)


def changed_by_a_reader(stored: Any) -> list[Any]:
    view(stored)["tags"].append("by a reader")
    tags: list[Any] = view(stored)["tags"]
    return tags


@pytest.mark.parametrize("stage", ["queued", "running", "succeeded", "entry"])
def test_fields_of_a_dispatch(stage: str) -> None:
    it = ticket(tags=["mine"])
    transfer = Transfer(it, 1, {}, 0.0, 0.0)
    success = (it, 1, 0.0, "path", 0.0, None)
    stored = {"queued": it, "running": transfer, "succeeded": success, "entry": entry_of(transfer)}[stage]
    assert changed_by_a_reader(stored) == ["mine"]


@pytest.mark.parametrize("fields", [{}, {"tag": "mine"}])
def test_plain_fields_need_no_copies(fields: dict[str, Any]) -> None:
    assert not entry_of(ticket(**fields)).is_nested
    assert entry_of(ticket(tags=[])).is_nested is True


def test_progress_with_a_list() -> None:
    it, tags = Entry({"state": "x"}, Phase.RUNNING, {}), ["mine"]
    assert it.accept_progress({"transferred": 1}, False)
    assert it.is_nested is False
    assert it.accept_progress({"a": None, "b": True, "c": "x", "d": 1.0}, False)
    assert it.is_nested is False
    assert it.accept_progress({"tags": tags}, False)
    tags.append("by the writer")
    assert changed_by_a_reader(it) == ["mine"]
    assert it.accept_progress({"transferred": 2}, False)
    assert it.is_nested is True, "the list is there yet"


def test_records_that_callers_put_and_patch() -> None:
    ledger = Ledger(Retention())
    ledger.apply(Put("s", "plain", {"tag": "mine"}))
    ledger.apply(Put("s", "nested", {"tags": ["mine"]}))
    entries = ledger.table.buckets["s"]
    assert [each.is_nested for each in entries.values() if isinstance(each, Entry)] == [False, True]
    assert changed_by_a_reader(entries["nested"]) == ["mine"]
    ledger.apply(Patch("s", "plain", {"more": 1}))
    assert entries["plain"].is_nested is False  # type: ignore[union-attr]
    ledger.apply(Patch("s", "plain", {"tags": ["later"]}))
    ledger.apply(Patch("s", "plain", {"more": 2}))
    assert changed_by_a_reader(entries["plain"]) == ["later"]


@pytest.mark.parametrize("tags", [["new"], "plain"])
def test_a_record_that_replaces_a_running_one(tags: Any) -> None:
    ledger = Ledger(Retention())
    it = ticket(tags=["old"])
    ledger.apply(it)
    ledger.apply(Transfer(it, 1, {}, 0.0, 0.0))
    ledger.apply(Put("s", "a", {"tags": tags}))
    entry = ledger.table.buckets["s"]["a"]
    assert isinstance(entry, Entry)
    assert entry.is_nested is (tags == ["new"])
    ledger.apply(Succeeded(entry.transfer, "path", 1.0))  # type: ignore[arg-type]
    assert view(entry)["tags"] == tags
