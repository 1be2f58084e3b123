"""Every message, grouped by who receives it, with its reply.

A message is told (no reply) unless its docstring names a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from haulier._engine.ticket import Ticket
from haulier.records import Record
from haulier.transfer import Transfer

__all__ = [
    "Abandon", "Add", "Again", "Attempts", "Audit", "Cancel", "Clear", "Closed", "Due", "Ended", "Forget", "Guard",
    "Hire", "History", "Listen", "Lost", "Moved", "Paced", "Patch", "PatchUnless", "Put",
    "Registered", "Remove", "Retry", "Standing", "Stirred", "Succeeded", "Sync", "Turned", "Unfinished", "Unwatch",
    "Wake", "Watch", "Watched",
]  # fmt: skip


class Standing(NamedTuple):
    """How far the attempts at a download have come, as it is written down: in UTC seconds, which outlive a process."""

    attempts: int
    """Those that are spent; while one runs, the number of that one."""
    first_on: float
    """When the first one started."""
    idle_s: float
    """Back-off so far, seconds."""
    on: float
    """When the one that runs has started, or the next one is due."""


# ---- to the record store ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Moved:
    """A download goes through one row of ``core.lifecycle.TABLE``, but for ``take``: that is the ``Transfer`` itself.

    ``event`` names the row. ``transfer``: the attempt that reports, None for a download that is not running. ``patch``:
    what the record says from then on. ``on``: UTC seconds. ``standing``: of one that will be tried again.
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
    """An attempt succeeded: its outcome and, once ``on`` (UTC seconds) is filled in, the news of it.

    One object for both: it is what most downloads come to.
    """

    transfer: Transfer
    path: str
    on: float = 0.0
    following: Transfer | None = None
    """The attempt that the same slot started then: its news comes with this one."""


class Add(NamedTuple):
    """These downloads of ``source`` are dispatched, and are to survive: ``texts`` are their tickets as text.

    Reply: None, once they are on disk. Raises ``StoreUnavailable``; then none of them is there.
    """

    source: str
    tickets: Collection[Ticket]
    texts: Collection[str]


class Registered(NamedTuple):
    """A source has (other) manners, of which some are to be known when the process starts again."""

    source: str


class Paced(NamedTuple):
    """A run whose record had ended before it has ended now (UTC seconds), and ``source`` may be suspended since."""

    source: str
    last_end_on: float
    suspended_until_on: float | None


class Stirred(NamedTuple):
    """A record was written to past the store, which is to write that down when it comes to it."""

    source: str
    download_id: str


class Put(NamedTuple):
    """Set a record as it is (``add_record``)."""

    source: str
    download_id: str
    record: Record


class Patch(NamedTuple):
    """Lay ``patch`` over a record, if there is one."""

    source: str
    download_id: str
    patch: Mapping[str, Any]


class PatchUnless(NamedTuple):
    """The same, unless the record's state is one of ``states``. Reply: whether it was applied."""

    source: str
    download_id: str
    patch: Mapping[str, Any]
    states: tuple[Any, ...]


class History(NamedTuple):
    """Reply: up to ``limit`` downloads that are over, as they are on disk, the newest first; see ``engine.history``."""

    source: str | None
    phase: str | None
    before: Any
    limit: int


class Attempts(NamedTuple):
    """Reply: the attempts at a download that have ended, as they are on disk."""

    source: str
    download_id: str


class Cancel(NamedTuple):
    """Cancel a record that no source has in hand (``add_record`` made it). Reply: whether it was cancelled."""

    download_id: str


class Remove(NamedTuple):
    """Take a record out. Reply: the record, or None."""

    source: str | None
    download_id: str


class Forget(NamedTuple):
    """A dispatch was refused after its record was told of: take it back without a trace."""

    source: str
    download_id: str


class Clear(NamedTuple):
    """Remove all terminal records. Reply: how many."""


class Unfinished(NamedTuple):
    """Reply: the ids of the downloads of ``source`` that the engine has not ended, as far as the store was told."""

    source: str


class Lost(NamedTuple):
    """Nobody has these downloads any more: those that have not ended fail. Reply: which. ``on``: UTC seconds."""

    source: str
    download_ids: Collection[str]
    error: str
    error_type: str
    on: float


class Sync(NamedTuple):
    """Reply None: whatever was told before has been applied."""


class Written(NamedTuple):
    """Reply: whether all that was told before is on disk, or will be as soon as that is possible again."""


class Watch(NamedTuple):
    """Call ``callback(record)`` once for each of these downloads when it is terminal (or removed).

    Reply: a ``Watched``. Nothing will be called for what that names.
    """

    download_ids: Collection[str]
    callback: Callable[[Record], None]


class Watched(NamedTuple):
    """Of the downloads in a ``Watch``: the records of those that are over already, and the ids that have none."""

    over: list[Record]
    unknown: list[str]


class Unwatch(NamedTuple):
    """Nobody waits with ``callback`` any longer."""

    download_ids: Collection[str]
    callback: Callable[[Record], None]


class Closed(NamedTuple):
    """Nothing starts any more. Reply: None; what is not over by then has been told, as it is, to whoever watches it."""


class Listen(NamedTuple):
    """``active``: from now on note what happens, since somebody subscribed; otherwise no longer. Reply: None."""

    active: bool


# ---- to the supervisor -----------------------------------------------------------------------------------------------


class Hire(NamedTuple):
    """There is work at ``mailbox`` for more source actors than it has: start them."""

    mailbox: Any


class Ended(NamedTuple):
    """A source actor's thread ended without leaving its mailbox in order: it crashed. ``cause``: why, if known."""

    mailbox: Any
    transfer: Transfer | None
    cause: BaseException | None
    slot: Any = None
    at: float | None = None
    """When (monotonic), where it was seen: the back-off counts from then, not from when the supervisor hears of it."""


class Retry(NamedTuple):
    """Put a download that backs off into its queue again at ``at`` (monotonic)."""

    mailbox: Any
    download_id: str
    at: float


class Guard(NamedTuple):
    """Watch this attempt's time-outs; look for the first time at ``at`` (monotonic)."""

    mailbox: Any
    transfer: Transfer
    at: float


class Wake(NamedTuple):
    """At ``at`` (monotonic) see that somebody works at ``mailbox``; ``restart``: its rest after a crash is over."""

    mailbox: Any
    at: float
    restart: bool = False


class Abandon(NamedTuple):
    """Nobody holds the engine any longer: finish what is queued, then end. Looked after again at ``at`` (monotonic)."""

    at: float


class Audit(NamedTuple):
    """At ``at`` (monotonic) look whether a slot's thread died unheard, and have everybody who waits look again.

    ``thorough``: something went wrong in the middle of a step: also fail what nobody has any more.
    """

    at: float
    thorough: bool = False


class Again(NamedTuple):
    """At ``at`` (monotonic) handle ``message`` again: so many ``tries`` have failed."""

    at: float
    message: Any
    tries: int


class Turned(NamedTuple):
    """The store cannot write any longer, or can again: what is to survive the process does not start meanwhile."""


Due: TypeAlias = Retry | Guard | Wake | Abandon | Audit | Again
"""What the supervisor's agenda holds."""
