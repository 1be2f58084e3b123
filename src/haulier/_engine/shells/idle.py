"""The slots of one engine that wait for work: how many there may be, and which one leaves if there are more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from haulier._engine.shells.mailbox import Mailbox

__all__ = ["MOST_IDLE", "IdleSlots"]

MOST_IDLE: Final = 128
"""How many slots of an engine may wait. A slot that left costs its source one start of a thread, some 60 µs. So a
program with this many busy sources pays nothing, and one with 100,000 sources keeps few threads."""


class IdleSlots:
    """Counts the waiting slots. Every method may be called from any thread, and takes no lock."""

    def __init__(self, most: int = MOST_IDLE) -> None:
        self._most = most
        self._led: dict[Mailbox, None] = {}
        """Mailboxes whose leader waits, the one that has waited longest first."""
        self._followers: set[Any] = set()
        """Slots that wait to become the leader of their mailbox."""

    def __len__(self) -> int:
        return len(self._led) + len(self._followers)

    def leader_waits(self, mailbox: Mailbox) -> None:
        """Count the leader of ``mailbox``. If there are too many waiting slots now, let the oldest leader go."""
        self._led[mailbox] = None
        if len(self) > self._most:
            self.dismiss_one()

    def leader_wakes(self, mailbox: Mailbox) -> None:
        """Count the leader of ``mailbox`` no more."""
        self._led.pop(mailbox, None)

    def follower_may_wait(self, slot: Any) -> bool:
        """Count a slot that wants to wait behind a leader, if there is room for it."""
        if len(self) >= self._most:
            return False
        self._followers.add(slot)
        return True

    def follower_wakes(self, slot: Any) -> None:
        """Count a slot that waited behind a leader no more."""
        self._followers.discard(slot)

    def dismiss_one(self) -> bool:
        """Let the leader go that has waited longest. Returns False if none waits."""
        while self._led:
            try:
                mailbox = next(iter(self._led))
                del self._led[mailbox]
            except (KeyError, RuntimeError, StopIteration):
                continue  # another thread was faster
            mailbox.outlet.is_dismissed = True
            mailbox.bell.ring()
            return True
        return False
