"""Close an engine: end what runs, fail what is left, and stop the actors in the reverse order of their start."""

from __future__ import annotations

from threading import TIMEOUT_MAX, Thread
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

from haulier._engine import messages as m
from haulier._engine.shells.actor import Inbox
from haulier._engine.shells.mailbox import Mailbox

if TYPE_CHECKING:
    from haulier._engine.shells.system import System

__all__ = ["end", "left"]


def end(system: System, deadline: float | None, mine: Thread, join_s: float) -> None:
    """Stop everything by ``deadline`` (monotonic seconds; None: no limit). ``mine`` is the calling thread.

    ``join_s``: how long to wait for haulier's own threads.
    """
    mailboxes = list(system.mailboxes.values())
    for mailbox in mailboxes:
        with mailbox.lock:
            mailbox.source.close(time())
        mailbox.changed()
    try:
        for mailbox in mailboxes:
            for slot in mailbox.slots.copy():
                if slot.thread is not mine and slot.thread.ident is not None and not slot.is_zombie:
                    slot.thread.join(None if deadline is None else left(deadline))
    finally:  # even if the wait was interrupted
        for mailbox in mailboxes:
            _give_up(system, mailbox, mine)
        system.store.expect_answer(deadline, join_s)
        _stop_actors(system, mine, join_s)
        if system.trace is not None:
            system.trace.close(system.store.is_whole)


def _account_for(system: System, mailbox: Mailbox) -> None:
    """Fail downloads that an interrupted call lost: no slot has them, and no audit will find them any more."""
    unfinished = system.store.ask(m.Unfinished(mailbox.source.name))
    with mailbox.lock:
        lost = mailbox.source.missing(unfinished)
    if lost:
        system.store.ask(m.Lost(mailbox.source.name, lost, "engine closed", "EngineClosed", time()))


def _give_up(system: System, mailbox: Mailbox, mine: Thread) -> None:
    """Fail what still runs, except a download whose impl closes the engine: it is about to end."""
    own = [slot.in_hand for slot in mailbox.slots.copy() if slot.thread is mine]
    with mailbox.lock:
        for transfer in list(mailbox.source.attempts.in_flight.values()):
            if transfer in own:
                if mailbox.is_durable:
                    system.store.awaited = (transfer.source, transfer.download_id)
            else:
                mailbox.source.give_up(transfer, "engine closed", "EngineClosed", monotonic(), time())


def _stop_actors(system: System, mine: Thread, join_s: float) -> None:
    until = monotonic() + (0.0 if system.is_ours(mine) else join_s)
    system.supervisor.stop()
    _join(system.supervisor, mine, join_s)
    for mailbox in system.sources():
        _account_for(system, mailbox)
    if system.is_durable:
        system.store.ask(m.Closed())
    for subscription in system.subscriptions:
        subscription.close(left(until))
    system.store.stop()
    _join(system.store, mine, join_s)


def _join(inbox: Inbox, mine: Thread, seconds: float) -> None:
    """Wait up to ``seconds`` until the actor of ``inbox`` has ended, and a successor if it dies meanwhile."""
    until = monotonic() + seconds
    waited_for = None
    while (thread := inbox.thread) is not waited_for and thread is not None and thread is not mine:
        while thread.ident is None and monotonic() < until:
            sleep(0.001)  # a successor that is about to start
        if thread.ident is not None:
            thread.join(left(until))
        waited_for = thread


def left(deadline: float) -> float:
    return min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)
