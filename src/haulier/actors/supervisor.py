"""The supervisor: starts source actors, learns of every one's death, and keeps the agenda of what is due later."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import count
from time import monotonic, time
from typing import Any, Final

from haulier import messages as m
from haulier.actors.actor import EngineActor, Inbox, Mail
from haulier.actors.bell import Bell
from haulier.actors.source import SourceActor
from haulier.core.agenda import Agenda

__all__ = ["Supervisor", "SupervisorActor"]

logger = logging.getLogger("haulier.supervisor")

NO_THREAD_S: Final = 0.25
"""Until the next try, where the machine would not give a thread."""

ABANDONED_S: Final = 0.5
"""Between two looks at whether an engine that nobody holds has finished."""


class Supervisor(Inbox):
    """The supervisor's mailbox: a deque and an agenda, so that one thread waits for both."""

    def __init__(self) -> None:
        self.stopping = False
        self._messages: deque[Any] = deque()
        self._agenda: Agenda[Any] = Agenda()
        self._prune_at = 1024
        self._bell = Bell()
        self._mail = Mail(None)

    def tell(self, message: Any) -> None:
        """Have ``message`` handled after all that was told before; one of ``messages.Due``, when it is due."""
        if self.stopping and isinstance(message, m.Ended):
            # Nobody is left to handle it: a run that closed its engine, and then crashed.
            message.mailbox.bury(message)
            return
        self._messages.append(message)
        self._bell.ring()

    def later(self, due: m.Due) -> None:
        """Note a message on the agenda; on the supervisor's own thread."""
        self._agenda.add(due.at, due)
        if len(self._agenda) > self._prune_at:
            self._agenda.prune(_matters)
            self._prune_at = 2 * len(self._agenda) + 1024

    def get(self) -> Mail:
        """Wait for a message, or for the next thing that is due."""
        while True:
            due = self._agenda.pop_due(monotonic())
            if due is not None:
                self._mail.message = due
                return self._mail
            self._bell.armed = True
            if self._messages:
                message = self._messages.popleft()
                if isinstance(message, m.Due) and message.at > monotonic():
                    self.later(message)
                    continue
                self._mail.message = message
                return self._mail
            if self.stopping:
                self._mail.message = None
                return self._mail
            at = self._agenda.next_at()
            self._bell.wait(None if at is None else at - monotonic())

    def stop(self) -> None:
        """Have the actor end once all that was told has been handled."""
        self.stopping = True
        self._bell.armed = True
        self._bell.ring()


class SupervisorActor(EngineActor):
    """The thread that supervises.

    ``abandoned()`` says whether an engine that nobody holds could be ended; ``catch_up()`` comes back once the store
    has applied what it was told.
    """

    def __init__(self, supervisor: Supervisor, abandoned: Callable[[], bool], catch_up: Callable[[], None]) -> None:
        super().__init__("haulier-supervisor", supervisor)
        self._catch_up = catch_up
        self._supervisor = supervisor
        self._abandoned = abandoned
        self._numbers = count(1)

    def on_receive(self, message: Any) -> None:
        """Carry out one message; whatever goes wrong with it, the supervisor lives."""
        if message is None:
            self.leave()
            return
        try:
            self._handle(message)
        except BaseException:
            logger.exception("%s could not be carried out", type(message).__name__)

    def _handle(self, message: Any) -> None:
        match message:
            case m.Hire(mailbox):
                self._hire(mailbox)
            case m.Ended(mailbox, _, cause):
                logger.error("source %s crashed", mailbox.source.name, exc_info=cause)
                mailbox.bury(message)
                mailbox.changed()
            case m.Retry(mailbox, download_id, _):
                with mailbox.lock:
                    mailbox.source.retry_due(download_id)
                mailbox.changed()
            case m.Guard(mailbox):
                self._guard(mailbox, message)
            case m.Wake(mailbox, at, restart):
                if restart and at >= mailbox.source.resting_until:
                    mailbox.source.resting = False
                mailbox.changed()
            case m.Abandon():
                if not self._abandoned():
                    self._supervisor.later(m.Abandon(monotonic() + ABANDONED_S))
            case _:
                logger.warning("dead letter: %s is no message for the supervisor", type(message).__name__)

    def _hire(self, mailbox: Any) -> None:
        """Start as many source actors as there is work for."""
        mailbox.hiring = False
        while True:
            with mailbox.lock:
                if not mailbox.source.reserve():
                    return
            try:
                SourceActor.start(mailbox, next(self._numbers))
            except BaseException as error:
                # 'can't start new thread': the machine is at its limit. What is queued waits for the next try.
                logger.error("no thread for source %s: %r", mailbox.source.name, error)
                with mailbox.lock:
                    mailbox.source.live -= 1
                self._supervisor.later(m.Wake(mailbox, monotonic() + NO_THREAD_S))
                return

    def _guard(self, mailbox: Any, guard: m.Guard) -> None:
        source = mailbox.source
        self._catch_up()  # progress may still be on its way to where a stall is looked for
        now = monotonic()
        with mailbox.lock:
            verdict = source.overdue(guard.transfer, now)
            if isinstance(verdict, str):
                source.give_up(guard.transfer, verdict, "TimeoutError", now, time())
        if isinstance(verdict, str):
            logger.error("gave up on %s at %s: %s", guard.transfer.download_id, source.name, verdict)
            mailbox.changed()
        elif verdict is not None:
            self._supervisor.later(guard._replace(at=verdict))


def _matters(due: m.Due) -> bool:
    """Whether something on the agenda still has a subject: most time-outs are noted for runs that end long before."""
    if isinstance(due, m.Guard):
        return due.mailbox.source.in_flight.get(due.transfer.ticket[0]) is due.transfer
    return not isinstance(due, m.Retry) or due.download_id in due.mailbox.source.tried
