"""Every message, grouped by who receives it, with its reply.

The sender tells a message (no reply) unless its docstring names a reply; then the sender asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from haulier._engine.ticket import Ticket
from haulier.records import Record
from haulier.transfer import Transfer

__all__ = [
    "Abandon",
    "Add",
    "Attempts",
    "Audit",
    "Cancel",
    "Clear",
    "Closed",
    "Due",
    "Ended",
    "Forget",
    "Guard",
    "Hire",
    "History",
    "Listen",
    "Lost",
    "Moved",
    "OnDisk",
    "Paced",
    "Patch",
    "PatchUnless",
    "Put",
    "Redo",
    "Registered",
    "Remove",
    "Retry",
    "Standing",
    "StoreHealthChanged",
    "Succeeded",
    "Sync",
    "Unfinished",
    "Unwatch",
    "Wake",
    "Watch",
    "Watched",
    "WrittenTo",
]  # fmt: skip


class Standing(NamedTuple):
    """How far the attempts at a download have come, as a durable store writes it. UTC seconds outlive a process."""

    attempts: int
    """How many attempts are spent; while an attempt runs, its number (from 1)."""
    first_on: float
    """When the first attempt started, UTC seconds."""
    idle_s: float
    """Back-off so far, in seconds."""
    on: float
    """When the running attempt started, or when the next one is due, UTC seconds."""


# ---- to the record store ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Moved:
    """A download makes one move of ``core.lifecycle.TABLE``. For the move 'take' the message is the ``Transfer``.

    ``event``: the event in the table. ``transfer``: the attempt that reports, None if the download does not run.
    ``patch``: what changes in the record. ``on``: UTC seconds. ``standing``: set if another attempt follows.
    """

    event: str
    source: str
    download_id: str
    transfer: Transfer | None
    patch: Record | None
    on: float
    standing: Standing | None = None


@dataclass(slots=True)
class Succeeded:
    """An attempt succeeded. First its outcome; once ``on`` (UTC seconds) is set, the message to the store.

    One object serves both, since most downloads end this way.
    """

    transfer: Transfer
    path: str
    on: float = 0.0
    following: Transfer | None = None
    """The attempt that the slot started in the same step. The store learns of it from this message."""


class Add(NamedTuple):
    """Dispatch durable downloads of ``source``. ``texts``: their tickets as text, in the same order.

    Reply: None, once they are on disk. Raises StoreUnavailable if the store cannot write; then none is stored.
    """

    source: str
    tickets: Collection[Ticket]
    texts: Collection[str]


class Registered(NamedTuple):
    """A source was registered or its policy changed. A durable store writes what the next process must know of it."""

    source: str


class Paced(NamedTuple):
    """A run has ended after its record did. The delay counts from ``last_end_on``; all times are UTC seconds."""

    source: str
    last_end_on: float
    suspended_until_on: float | None


class WrittenTo(NamedTuple):
    """Another thread wrote to a record directly. A durable store writes the change with its next batch."""

    source: str
    download_id: str


class Put(NamedTuple):
    """Store ``record`` unchanged, for ``add_record``."""

    source: str
    download_id: str
    record: Record


class Patch(NamedTuple):
    """Update a record with ``patch``; without a record nothing happens."""

    source: str
    download_id: str
    patch: Mapping[str, Any]


class PatchUnless(NamedTuple):
    """Update a record with ``patch`` unless its state is one of ``states``. Reply: whether it was applied."""

    source: str
    download_id: str
    patch: Mapping[str, Any]
    states: tuple[Any, ...]


class History(NamedTuple):
    """Reply: up to ``limit`` ended downloads from disk, the newest first. See ``DownloadEngine.history``."""

    source: str | None
    phase: str | None
    before: Any
    limit: int


class Attempts(NamedTuple):
    """Reply: the ended attempts at a download, from disk."""

    source: str
    download_id: str


class Cancel(NamedTuple):
    """Cancel a record that belongs to no source, such as one of ``add_record``. Reply: whether it was cancelled."""

    download_id: str


class Remove(NamedTuple):
    """Remove a record. Reply: the record, or None."""

    source: str | None
    download_id: str


class Forget(NamedTuple):
    """Drop a record without an event: its dispatch was refused after the store had stored it."""

    source: str
    download_id: str


class Clear(NamedTuple):
    """Remove all terminal records. Reply: how many."""


class Unfinished(NamedTuple):
    """Reply: the ids of the downloads of ``source`` that have not ended, as far as the store knows."""

    source: str


class Lost(NamedTuple):
    """Fail those of these downloads that have not ended: no source has them. Reply: their ids. ``on``: UTC seconds."""

    source: str
    download_ids: Collection[str]
    error: str
    error_type: str
    on: float


class Sync(NamedTuple):
    """Reply: None, once all earlier messages are applied."""


class OnDisk(NamedTuple):
    """Reply: None, once the changes of all earlier messages are on disk. Raises StoreUnavailable if that failed.

    Changes of progress alone may be missing.
    """


class Watch(NamedTuple):
    """Call ``callback(record)`` once for each of these downloads when it is terminal or removed.

    Reply: a ``Watched``. ``callback`` is not called for the downloads that the reply names.
    """

    download_ids: Collection[str]
    callback: Callable[[Record], None]


class Watched(NamedTuple):
    """Of the downloads in a ``Watch``: the records that are terminal already, and the ids without a record."""

    ended: list[Record]
    unknown: list[str]


class Unwatch(NamedTuple):
    """Stop calling ``callback``, which a ``Watch`` named, for these downloads."""

    download_ids: Collection[str]
    callback: Callable[[Record], None]


class Closed(NamedTuple):
    """The engine is closed and starts nothing more. Reply: None, once the watchers have the records as they are now."""


class Listen(NamedTuple):
    """Start sending events because a program subscribed (``active``), or stop. Reply: None."""

    active: bool


# ---- to the supervisor -----------------------------------------------------------------------------------------------


class Hire(NamedTuple):
    """Start source actors at ``mailbox``: it has work for more of them."""

    mailbox: Any


class Ended(NamedTuple):
    """A source actor crashed: its thread ended without leaving its slot. ``cause``: the exception, if known."""

    mailbox: Any
    transfer: Transfer | None
    cause: BaseException | None
    slot: Any = None
    at: float | None = None
    """When the thread ended (monotonic), if known. The rest counts from then, not from when the message arrives."""


class Retry(NamedTuple):
    """At ``at`` (monotonic) put a download that backs off into its queue again."""

    mailbox: Any
    download_id: str
    at: float


class Guard(NamedTuple):
    """Check the time-outs of an attempt, for the first time at ``at`` (monotonic)."""

    mailbox: Any
    transfer: Transfer
    at: float


class Wake(NamedTuple):
    """At ``at`` (monotonic) hire a slot at ``mailbox`` if it lacks one. ``restart``: a rest after a crash ends then."""

    mailbox: Any
    at: float
    restart: bool = False


class Abandon(NamedTuple):
    """The program dropped its engine: end once the queues are empty. Check again at ``at`` (monotonic)."""

    at: float


class Audit(NamedTuple):
    """At ``at`` (monotonic) look for slots whose threads died unnoticed, and wake every slot that waits.

    ``thorough``: a step was interrupted, so also fail the downloads that no source has any more.
    """

    at: float
    thorough: bool = False


class Redo(NamedTuple):
    """At ``at`` (monotonic) handle ``message`` again, after ``tries`` failed tries."""

    at: float
    message: Any
    tries: int


class StoreHealthChanged(NamedTuple):
    """The store has begun to fail, or writes again. Durable downloads do not start while it fails."""


Due: TypeAlias = Retry | Guard | Wake | Abandon | Audit | Redo
"""What the supervisor's agenda holds."""
