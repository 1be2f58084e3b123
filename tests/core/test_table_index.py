"""With many sources a table knows the source of each download id, so that a search does not look at all of them."""

from __future__ import annotations

from typing import Any

import pytest

from haulier._engine.core.ledger import Ledger
from haulier._engine.core.table import FEW_SOURCES
from haulier._engine.messages import Clear, Forget, Put, Remove
from haulier._engine.ticket import make_ticket
from haulier.policies import Retention


class Counting(dict[str, Any]):
    """A dict that counts the looks at it."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Retention())


def dispatch(ledger: Ledger, *sources: int) -> None:
    for number in sources:
        ledger.apply(make_ticket(f"id-{number}", f"source-{number}"))


def looks_for(ledger: Ledger, download_id: str) -> int:
    """How many times a search looks into the dicts of sources."""
    ledger.table.buckets = counting = Counting(ledger.table.buckets)
    ledger.table.find(None, download_id)
    ledger.table.buckets = dict(counting)
    return counting.looks


def test_few_sources_need_no_index(ledger: Ledger) -> None:
    dispatch(ledger, *range(FEW_SOURCES))
    assert not ledger.table.is_indexed
    dispatch(ledger, FEW_SOURCES)
    assert ledger.table.is_indexed


@pytest.mark.parametrize("number", [0, FEW_SOURCES - 1, FEW_SOURCES, FEW_SOURCES + 1])
def test_each_download_is_found_at_the_first_look(ledger: Ledger, number: int) -> None:
    dispatch(ledger, *range(FEW_SOURCES + 2))
    found = ledger.table.find(None, f"id-{number}")
    assert found is not None
    assert (found[0], found[1][0]) == (f"source-{number}", f"id-{number}")  # type: ignore[index]
    assert looks_for(ledger, f"id-{number}") == 1


def test_what_is_unknown_is_looked_for_everywhere(ledger: Ledger) -> None:
    dispatch(ledger, *range(FEW_SOURCES + 1))
    assert ledger.table.find(None, "unknown") is None
    assert looks_for(ledger, "unknown") == 1 + FEW_SOURCES + 1


def test_records_of_callers_are_in_it(ledger: Ledger) -> None:
    dispatch(ledger, *range(FEW_SOURCES + 1))
    ledger.apply(Put("source-3", "mine", {}))
    ledger.apply(Put("new", "mine too", {}))
    assert [ledger.table.find(None, each)[0] for each in ("mine", "mine too")] == ["source-3", "new"]  # type: ignore[index]
    assert looks_for(ledger, "mine") == looks_for(ledger, "mine too") == 1


@pytest.mark.parametrize("message", [Remove(None, "id-3"), Forget("source-3", "id-3")])
def test_what_is_removed_is_gone(ledger: Ledger, message: Any) -> None:
    dispatch(ledger, *range(FEW_SOURCES + 1))
    ledger.apply(message)
    assert ledger.table.find(None, "id-3") is None
    ledger.apply(Put("source-5", "id-3", {}))
    assert looks_for(ledger, "id-3") == 1, "at its new source, not at the old one"


@pytest.mark.parametrize("gone", ["source-1", "source-2"])
def test_one_id_at_two_sources_is_that_of_the_first(ledger: Ledger, gone: str) -> None:
    """``add_record`` may give two sources records of one id. A removal leaves the other one."""
    dispatch(ledger, *range(FEW_SOURCES + 1))
    for source in ("source-1", "source-2"):
        ledger.apply(Put(source, "twice", {}))
    assert ledger.table.find(None, "twice")[0] == "source-1"  # type: ignore[index]
    assert looks_for(ledger, "twice") == 1
    ledger.apply(Remove(gone, "twice"))
    left = {"source-1": "source-2", "source-2": "source-1"}[gone]
    assert ledger.table.find(None, "twice")[0] == left  # type: ignore[index]
    assert ledger.table.find(left, "twice") is not None
    assert ledger.table.find(gone, "twice") is None


def test_ids_that_were_there_twice_before_the_index_are_those_of_the_first(ledger: Ledger) -> None:
    for source in ("source-1", "source-0"):
        ledger.apply(Put(source, "twice", {}))
    dispatch(ledger, *range(FEW_SOURCES + 1))
    assert ledger.table.find(None, "twice")[0] == "source-1"  # type: ignore[index]
    assert looks_for(ledger, "twice") == 1


def test_what_retention_evicts_is_gone() -> None:
    ledger = Ledger(Retention(max_terminal=1))
    dispatch(ledger, *range(FEW_SOURCES + 1))
    for number in range(3):
        ledger.apply(Put("source-0", f"done-{number}", {"state": "Errored"}))
    assert [ledger.table.find(None, f"done-{number}") is None for number in range(3)] == [True, True, False]
    ledger.apply(Clear())
    assert ledger.table.find(None, "done-2") is None


def test_records_from_disk_are_in_it(ledger: Ledger) -> None:
    for number in range(FEW_SOURCES + 1):
        ledger.table.restore(f"source-{number}", f"id-{number}", make_ticket(f"id-{number}", f"source-{number}"), None)
    assert looks_for(ledger, f"id-{FEW_SOURCES}") == looks_for(ledger, "id-0") == 1
