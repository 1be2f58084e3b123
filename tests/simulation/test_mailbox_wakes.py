"""The moments at which the real mailbox could leave a download lying, forced without a thread."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.slot import SourceActor
from haulier._engine.ticket import Ticket, make_ticket
from haulier.policies import SourcePolicy
from haulier.transfer import Transfer


def ticket(download_id: str) -> Ticket:
    return make_ticket(download_id, "s", username="s")


@pytest.fixture
def letters() -> deque[Any]:
    """What the supervisor was told."""
    return deque()


@pytest.fixture
def mailbox(letters: deque[Any]) -> Mailbox:
    """Its slots lose patience at once. Its lock lets the same thread in again, as another thread's step would be."""
    return Mailbox("s", SourcePolicy(concurrency=2), lambda _: None, letters.append, patience_s=0.0)


@pytest.fixture
def slot(mailbox: Mailbox) -> SourceActor:
    """A slot whose thread has not begun."""
    return SourceActor(mailbox, 1)


def test_what_is_put_while_the_last_slot_leaves_has_somebody_hired(
    mailbox: Mailbox, slot: SourceActor, letters: deque[Any]
) -> None:
    source, leave = mailbox.source, mailbox.source.leave
    source.slots.live = 1

    def leave_and_be_overtaken(*args: Any) -> bool:
        left = leave(*args)
        if left:
            mailbox.intake.put(ticket("late"))
        return left

    source.leave = leave_and_be_overtaken  # type: ignore[method-assign, assignment]
    assert mailbox.outlet.next_download(slot) is None
    assert slot.left
    assert [type(letter) for letter in letters] == [m.Hire]


def test_the_slot_that_waits_is_woken_when_a_probe_has_proved_the_source(mailbox: Mailbox, slot: SourceActor) -> None:
    """Until then it had nothing to wait for but a ring: one alone may run."""
    source = mailbox.source
    source.slots.live = 2
    for download_id in ("first", "second", "third"):
        mailbox.intake.put(ticket(download_id))
    source.gate.suspend(0.0)  # a suspension that is over
    probe = mailbox.outlet.next_download(slot)
    assert isinstance(probe, Transfer)
    mailbox.bell.armed = True  # the other slot has looked, and waits
    after = mailbox.outlet.report(probe, m.Succeeded(probe, "file.bin"), slot)
    assert isinstance(after, Transfer)
    assert source.queue.ids, "one more could start at the other slot"
    assert not mailbox.bell.armed, "and nobody wakes it"


# ---- a slot that dies right after a step of its source ---------------------------------------------------------------


@pytest.fixture
def breaks(mailbox: Mailbox) -> None:
    """Whoever has somebody hired dies of it. Two downloads wait."""
    mailbox.source.slots.live = 1
    for download_id in ("first", "second", "third"):
        mailbox.intake.put(ticket(download_id))
    mailbox.hiring = False

    def tell_supervisor(_: Any) -> None:
        raise MemoryError

    mailbox.tell_supervisor = tell_supervisor


@pytest.mark.usefixtures("breaks")
def test_what_a_slot_has_just_taken_is_in_its_hand_when_it_dies(mailbox: Mailbox, slot: SourceActor) -> None:
    with pytest.raises(MemoryError):
        mailbox.outlet.next_download(slot)
    assert list(mailbox.source.attempts.in_flight.values()) == [slot.in_hand]


@pytest.mark.usefixtures("breaks")
def test_what_a_slot_goes_on_to_is_in_its_hand_when_it_dies(mailbox: Mailbox, slot: SourceActor) -> None:
    first = mailbox.source.attempts.take(0.0, 0.0)
    assert isinstance(first, Transfer)
    slot.in_hand = first
    with pytest.raises(MemoryError):
        mailbox.outlet.report(first, m.Succeeded(first, "file.bin"), slot)
    assert list(mailbox.source.attempts.in_flight.values()) == [slot.in_hand]
    assert slot.in_hand is not first


def test_a_zombie_that_has_reported_has_left(mailbox: Mailbox, slot: SourceActor) -> None:
    mailbox.intake.put(ticket("hung"))
    slot.in_hand = hung = mailbox.outlet.next_download(slot)
    assert hung is not None
    mailbox.source.give_up(hung, "timed out", "TimeoutError", 0.0, 0.0)
    assert mailbox.outlet.report(hung, m.Succeeded(hung, "file.bin"), slot) is None
    assert (slot.left, slot.in_hand) == (True, None)


@pytest.mark.usefixtures("breaks")
def test_a_slot_that_dies_as_it_has_somebody_hired_keeps_nobody_from_being_hired(
    mailbox: Mailbox, slot: SourceActor, letters: deque[Any]
) -> None:
    with pytest.raises(MemoryError):
        mailbox.outlet.next_download(slot)
    assert mailbox.hiring, "whom nobody was told of"
    mailbox.tell_supervisor = letters.append
    mailbox.slots.add(slot)
    assert mailbox.bury(m.Ended(mailbox, slot.in_hand, MemoryError(), slot))
    mailbox.source.slots.resting = False
    letters.clear()
    mailbox.changed()
    assert list(letters) == [m.Hire(mailbox)]
