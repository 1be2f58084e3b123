"""Drain the queues before an engine closes, without waiting for downloads that cannot end meanwhile."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

from haulier._engine import messages as m
from haulier._engine.shells.system import System
from haulier._threads.log import Log
from haulier.records import Record
from haulier.transfer import running

__all__ = ["behind_own", "drain_queues"]

logger = Log("haulier.engine")

LOOK_S: Final = 0.25
"""How often to look whether the remaining downloads can end at all: a source may be paused at any time."""


def drain_queues(system: System, deadline: float | None) -> None:
    """Wait until all downloads have ended, or until ``deadline`` (monotonic seconds).

    Does not wait for downloads at a source that is paused or not registered yet. If an impl calls this, it does not
    wait for its own download, or for those that wait for its slot.
    """
    if deadline is not None and not system.store.answers_within(deadline - monotonic()):
        return  # the storage does not answer: ``System.close`` gives up on it
    ids = _unfinished(system)
    answers: SimpleQueue[Record] = SimpleQueue()
    watched: m.Watched = system.store.ask(m.Watch(ids, answers.put))
    left = len(ids) - len(watched.unknown) - len(watched.ended)
    try:
        while left:
            until = monotonic() + LOOK_S if deadline is None else min(deadline, monotonic() + LOOK_S)
            try:
                answers.get(timeout=max(0.0, until - monotonic()))
                left -= 1
            except Empty:
                if _paused(system).union(behind_own(system)).issuperset(_unfinished(system)):
                    return
                if deadline is not None and monotonic() >= deadline:
                    logger.warning("close: the queues were not empty in time")
                    return
    finally:
        system.store.tell(m.Unwatch(ids, answers.put))


def behind_own(system: System) -> set[str]:
    """In an impl: the ids of its own download and of those that wait for its slot. Elsewhere an empty set."""
    own = running()
    if own is None:
        return set()
    mailbox = system.mailboxes.get(own.source)
    if mailbox is None or mailbox.source.attempts.in_flight.get(own.download_id) is not own:
        return set()  # an impl of another engine
    behind = mailbox.source.queue.pending.copy() if mailbox.source.slots.limit == 1 else {}
    return {own.download_id, *behind}


def _unfinished(system: System) -> list[str]:
    ids: list[str] = []
    for mailbox in list(system.mailboxes.values()):
        with mailbox.lock:
            ids += [*mailbox.source.attempts.in_flight, *mailbox.source.queue.pending]
    return ids


def _paused(system: System) -> set[str]:
    """The ids of downloads that wait at a source that is paused or not registered yet."""
    sources = [mailbox.source for mailbox in list(system.mailboxes.values())]
    closed = [source for source in sources if source.gate.paused or "unregistered" in source.gate.holds]
    return {download_id for source in closed for download_id in source.queue.pending.copy()}
