"""The limit of an engine (``max_running``), shared by the threads of all its sources."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from haulier._engine.core.turns import Turns
from haulier._threads.lock import SafeLock

if TYPE_CHECKING:
    from haulier._engine.shells.mailbox import Mailbox

__all__ = ["SharedTurns"]


class SharedTurns:
    """``core.turns`` under a lock of its own. Called sources look again after the lock is released.

    A source calls this under its own lock; this never takes the lock of a source.
    """

    def __init__(self) -> None:
        self._turns = Turns()
        self._lock = SafeLock()  # reentrant for signal handlers and finalizers

    @property
    def limit(self) -> int | None:
        """How many downloads may run at once; None for no limit."""
        return self._turns.limit

    def take(self, owner: Any) -> bool:
        """Start a download if one may start now. Otherwise the source waits for its turn."""
        with self._lock:
            return self._turns.take(owner, monotonic())

    def admits(self, owner: Any) -> bool:
        """Whether a download may start now. Otherwise the source waits for its turn."""
        with self._lock:
            return self._turns.admits(owner, monotonic())

    def waits(self, owner: Any) -> bool:
        """Whether the source waits for its turn."""
        return self._turns.waits(owner)

    def give_back(self, owner: Any) -> None:
        """Count the end of a download."""
        with self._lock:
            called = self._turns.give_back(owner, monotonic())
        self._call(called)

    def pass_on(self, owner: Any) -> None:
        """Give up the place that is kept for the source, since it has nothing to start."""
        with self._lock:
            called = self._turns.pass_on(owner, monotonic())
        self._call(called)

    def recount(self, owner: Any, running: int) -> None:
        """Correct how many downloads of the source run, after an interrupted step."""
        with self._lock:
            called = self._turns.recount(owner, running, monotonic())
        self._call(called)

    def set_limit(self, limit: int | None) -> None:
        """Change the limit. Running downloads finish."""
        with self._lock:
            called = self._turns.set_limit(limit, monotonic())
        self._call(called)

    def look(self) -> bool:
        """Call further sources if one that was called did not come. Returns whether any source waits or was called."""
        with self._lock:
            called = self._turns.call(monotonic())
        self._call(called)
        return self._turns.is_busy

    def _call(self, mailboxes: Iterable[Any]) -> None:
        """Have each called source look. One that cannot start anything now (it is paused, say) passes its place on.

        This is a loop and no recursion: a thousand sources may be called in vain.
        """
        called: deque[Mailbox] = deque(mailboxes)
        while called:
            mailbox = called.popleft()
            is_watched = mailbox.bell.armed  # then its leader looks
            mailbox.changed()
            if not (
                is_watched or mailbox.hiring
            ):  # what is hired looks; if none can be hired, the supervisor passes on
                with self._lock:
                    called.extend(self._turns.pass_on(mailbox, monotonic()))  # type: ignore[arg-type]
