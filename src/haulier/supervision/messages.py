"""The messages to the keeper's thread."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from haulier.supervision.child import Child
from haulier.supervision.life import Life

__all__ = ["Deadline", "Ended", "Message", "Rested", "StopAll", "StopCame"]


class Ended(NamedTuple):
    """The thread of a life has ended."""

    life: Life


class Rested(NamedTuple):
    """The rest of a child ends ``at`` (monotonic seconds): start its next life."""

    child: Child
    at: float


class StopCame(NamedTuple):
    """A stop is in the mailbox of a child. The child does not rest any longer."""

    child: Child


class StopAll(NamedTuple):
    """Stop all children, the youngest first."""


class Deadline(NamedTuple):
    """Give up on ``child`` (None: all children) if it has not stopped by ``at`` (monotonic seconds)."""

    child: Child | None
    at: float


Message: TypeAlias = Ended | Rested | StopCame | StopAll | Deadline
"""Any message to the keeper's thread."""
