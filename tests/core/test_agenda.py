"""What is due when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haulier._engine.core.agenda import Agenda


def test_an_empty_agenda_has_nothing_due() -> None:
    agenda: Agenda[str] = Agenda()
    assert (len(agenda), agenda.next_at(), agenda.pop_due(1e9)) == (0, None, None)


def test_nothing_is_due_before_its_moment_and_everything_is_at_it() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.add(2.0, "tea")
    assert agenda.next_at() == 2.0
    assert agenda.first_due(1.999999) is None
    assert agenda.pop_due(1.999999) is None
    assert [agenda.first_due(2.0) for _ in range(2)] == ["tea"] * 2
    assert agenda.pop_due(2.0) == "tea"
    assert agenda.first_due(2.0) is None
    assert agenda.pop_due(2.0) is None


@given(st.lists(st.integers(0, 5)))
def test_the_earliest_first_and_at_the_same_moment_in_the_order_they_were_noted(moments: list[int]) -> None:
    agenda: Agenda[tuple[int, object]] = Agenda()
    noted = [(at, object()) for at in moments]  # objects cannot be compared: the heap must not try
    for thing in noted:
        agenda.add(thing[0], thing)
    assert len(agenda) == len(noted)
    popped = [agenda.pop_due(5) for _ in noted]
    assert popped == sorted(noted, key=lambda thing: thing[0])
    assert len(agenda) == 0


def test_what_is_pruned_is_forgotten_and_the_rest_keeps_its_order() -> None:
    agenda: Agenda[str] = Agenda()
    for at, thing in [(1.0, "gone"), (5.0, "d"), (2.0, "a"), (6.0, "e"), (7.0, "gone"), (3.0, "b"), (4.0, "c")]:
        agenda.add(at, thing)
    agenda.prune(lambda thing: thing != "gone")
    assert len(agenda) == 5
    assert [agenda.pop_due(9.0) for _ in range(5)] == ["a", "b", "c", "d", "e"]
