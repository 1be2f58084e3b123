"""The two moments at which the real mailbox could leave a download lying, forced without a thread."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from haulier import messages as m
from haulier.actors.mailbox import Mailbox
from haulier.core.outcome import PutBack
from haulier.policies import SourcePolicy
from haulier.transfer import Transfer


def ticket(download_id: str) -> m.Ticket:
    return (download_id, "s", None, "", "", "s", None, None, None, 0.0)


@pytest.fixture
def letters() -> deque[Any]:
    """What the supervisor was told."""
    return deque()


@pytest.fixture
def mailbox(letters: deque[Any]) -> Mailbox:
    """Its slots lose patience at once. Its lock lets the same thread in again, as another thread's step would be."""
    return Mailbox("s", SourcePolicy(concurrency=2), lambda _: None, letters.append, patience_s=0.0)


def test_what_is_put_while_the_last_slot_leaves_has_somebody_hired(mailbox: Mailbox, letters: deque[Any]) -> None:
    source, leave = mailbox.source, mailbox.source.leave
    source.live = 1

    def leave_and_be_overtaken(*args: Any) -> bool:
        left = leave(*args)
        if left:
            mailbox.put(ticket("late"))
        return left

    source.leave = leave_and_be_overtaken  # type: ignore[method-assign, assignment]
    assert mailbox.next_download() is None
    assert [type(letter) for letter in letters] == [m.Hire]


def test_the_slot_that_waits_is_woken_when_a_probe_has_proved_the_source(mailbox: Mailbox) -> None:
    """Until then it had nothing to wait for but a ring: one alone may run."""
    source = mailbox.source
    source.live = 2
    for download_id in ("first", "second", "third"):
        mailbox.put(ticket(download_id))
    throttled = mailbox.next_download()
    assert throttled is not None
    probe, _ = mailbox.report(throttled, PutBack(0.0))
    assert isinstance(probe, Transfer)
    mailbox._bell.armed = True  # the other slot has looked, and waits
    after, _ = mailbox.report(probe, m.Landed(probe, "file.bin"))
    assert isinstance(after, Transfer)
    assert source.queue, "one more could start at the other slot"
    assert not mailbox._bell.armed, "and nobody wakes it"
