"""The supervisor: starts source actors, learns of every one's death, and keeps the agenda of what is due later."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from itertools import count
from time import monotonic, time
from typing import Any, Final, Protocol

import tenacity

from haulier._engine import messages as m
from haulier._engine.core.agenda import Agenda
from haulier._engine.core.restarts import Restarts
from haulier._engine.shells.actor import Inbox, Mail
from haulier._engine.shells.slot import SlotCrashed, SourceActor
from haulier._engine.shells.succession import NO_THREAD_S, Permanent
from haulier._engine.ticket import ID
from haulier._threads.bell import Bell
from haulier._threads.log import Log
from haulier.policies import RestartPolicy

__all__ = ["SupervisorActor", "SupervisorInbox"]

logger = Log("haulier.supervisor")

AUDIT_S: Final = 5.0
"""Between two looks at whether a slot's thread has died without a word, while there is one."""

AGAIN_S: Final = 0.1
"""Until a message whose handling failed is handled again, and ``TRIES`` in all: then it is given up on."""

TRIES: Final = 3

FOR_EVER: Final = RestartPolicy(intensity=sys.maxsize, period=1.0, wait=tenacity.wait_exponential(0.01, max=1.0))
"""Without its supervisor an engine hires nobody: it is started again however often it dies."""

ABANDONED_S: Final = 0.5
"""Between two looks at whether an engine that nobody holds has finished."""


class Engine(Protocol):
    """What the supervisor needs of the engine that it works for."""

    def sources(self) -> Iterable[Any]:
        """The mailboxes of all sources."""

    def ask_store(self, message: Any) -> Any:
        """The store's reply."""

    @property
    def is_unwell(self) -> bool:
        """Whether the store cannot write just now."""

    def abandoned(self) -> bool:
        """Nobody holds the engine: whether it had nothing left to do, and was ended."""


class SupervisorInbox(Inbox):
    """The supervisor's mailbox: a deque and an agenda, so that one thread waits for both."""

    def __init__(self) -> None:
        self.stopping = False
        self.restarts = Restarts(FOR_EVER)
        self.in_hand: Any = None
        """The message that is being taken off or handled: where the actor dies then, its successor tries again."""
        self.audit_at: float | None = None
        """When the next audit is due."""
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

    def try_again(self, message: Any) -> None:
        """``message`` could not be handled, or not to its end; on the supervisor's own thread."""
        tries = message.tries + 1 if isinstance(message, m.Redo) else 1
        again = m.Redo(monotonic() + AGAIN_S, message.message if isinstance(message, m.Redo) else message, tries)
        if tries < TRIES:
            self.later(again)
            if tries == 1 and not isinstance(again.message, m.Audit):
                self.later(m.Audit(again.at, thorough=True))  # for what is not done again, since it was done by half
        else:
            logger.critical("%s is given up on", type(again.message).__name__)
            if isinstance(again.message, m.Ended):
                again.message.slot.is_reported = False  # its thread is found dead
            self.later(m.Audit(again.at, thorough=True))

    def later(self, due: m.Due) -> None:
        """Note a message on the agenda; on the supervisor's own thread."""
        self._agenda.add(due.at, due)
        if len(self._agenda) > self._prune_at:
            self._agenda.prune(_matters)
            self._prune_at = 2 * len(self._agenda) + 1024

    def get(self) -> Mail:
        """Wait for a message, or for the next thing that is due.

        It is in hand before it is taken off: whoever dies in between leaves it to the successor, twice perhaps, never
        not at all.
        """
        while True:
            now = monotonic()
            due = self._agenda.first_due(now)
            if due is not None:
                self.in_hand = self._mail.message = due
                self._agenda.pop_due(now)
                return self._mail
            self._bell.armed = True
            if self._messages:
                message = self._messages[0]
                if isinstance(message, m.Due) and message.at > now:
                    self.later(message)
                    self._messages.popleft()
                    continue
                self.in_hand = self._mail.message = message
                self._messages.popleft()
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

    def vacated(self) -> None:
        """The actor died; what it was told is kept."""

    def rest(self, seconds: float) -> None:
        """Wait so long, or until it is to stop."""
        until = monotonic() + seconds
        while not self.stopping and (left := until - monotonic()) > 0:
            self._bell.armed = True
            if not self.stopping:
                self._bell.wait(left)

    def end(self) -> None:
        """The actor has ended in order."""


class SupervisorActor(Permanent):
    """The thread that supervises."""

    def __init__(self, supervisor: SupervisorInbox, engine: Engine) -> None:
        super().__init__("haulier-supervisor", supervisor, supervisor, engine)
        self._supervisor = supervisor
        self._engine = engine

    def on_start(self) -> None:
        """Take over, where another one died."""
        if self._supervisor.restarts.total:
            left, self._supervisor.in_hand = self._supervisor.in_hand, None
            if left is not None:
                self._supervisor.try_again(left)
            self._supervisor.later(m.Audit(0.0, thorough=True))  # it may have died in the middle of a step

    def on_receive(self, message: Any) -> None:
        """Carry out one message; whatever goes wrong with it, the supervisor lives."""
        if message is None:
            self.leave()
            return
        supervisor = self._supervisor
        try:
            self._handle(message.message if type(message) is m.Redo else message)
        except BaseException:
            supervisor.try_again(message)
            logger.exception("%s could not be carried out", type(message).__name__)
        supervisor.in_hand = None

    def _handle(self, message: Any) -> None:
        match message:
            case m.Hire(mailbox):
                self._hire(mailbox)
            case m.Ended(mailbox, _, cause):
                if mailbox.bury(message):
                    logger.error("source %s crashed", mailbox.source.name, exc_info=cause)
                if message.slot is not None and not isinstance(message.slot.failure, SlotCrashed):
                    # It was not the impl that crashed: who knows in the middle of what. Where this fails, it is tried
                    # again, when nobody is left to bury.
                    self._make_good(mailbox)
                mailbox.changed()
            case m.Retry(mailbox, download_id, at):
                with mailbox.lock:
                    mailbox.source.queue.retry_due(download_id, at)
                mailbox.changed()
            case m.Guard(mailbox):
                self._guard(mailbox, message)
            case m.Wake(mailbox, at, restart):
                if restart:
                    mailbox.source.slots.end_rest(at)
                mailbox.changed()
            case m.Audit(at, thorough):
                if at == self._supervisor.audit_at:
                    self._supervisor.audit_at = None
                self._audit(thorough)
            case m.StoreHealthChanged():
                for mailbox in self._engine.sources():
                    mailbox.intake.hold_back(self._engine.is_unwell)
            case m.Abandon():
                if not self._engine.abandoned():
                    self._supervisor.later(m.Abandon(monotonic() + ABANDONED_S))
            case _:
                logger.warning("dead letter: %s is no message for the supervisor", type(message).__name__)

    def _hire(self, mailbox: Any) -> None:
        """Start as many source actors as the source has work for."""
        mailbox.hiring = False
        while True:
            with mailbox.lock:
                if not mailbox.source.reserve_slot():
                    return
            slot = SourceActor(mailbox, next(_NUMBERS))
            mailbox.slots.add(slot)
            try:
                slot.begin()
            except RuntimeError as error:
                # 'can't start new thread': the machine is at its limit. What is queued waits for the next try.
                logger.error("no thread for source %s: %r", mailbox.source.name, error)
                with mailbox.lock:
                    mailbox.slots.discard(slot)
                    mailbox.source.slots.count_off()
                self._supervisor.later(m.Wake(mailbox, monotonic() + NO_THREAD_S))
                return
            self._audit_in(AUDIT_S)

    def _audit_in(self, seconds: float) -> None:
        supervisor = self._supervisor
        if supervisor.audit_at is None:
            supervisor.audit_at = monotonic() + seconds
            supervisor.later(m.Audit(supervisor.audit_at))

    def _audit(self, thorough: bool) -> None:
        """Look for dead slots and lost downloads that no message told of, and correct what they left."""
        for mailbox in self._engine.sources():
            for slot in mailbox.lost_slots():
                logger.error("the thread of %s has died without a word", slot)
                self._handle(m.Ended(mailbox, slot.in_hand, slot.failure or SlotCrashed("its thread died"), slot))
            mailbox.hiring = False
            try:
                if thorough:
                    self._make_good(mailbox)
            finally:
                mailbox.changed()  # last: there may be somebody to hire only now
            if mailbox.slots:
                self._audit_in(AUDIT_S)

    def _make_good(self, mailbox: Any) -> None:
        """Repair a source, and fail the downloads that no thread has any more after an interrupted step."""
        source = mailbox.source
        nowhere = mailbox.repair(self._engine.ask_store(m.Unfinished(source.name)))
        if not nowhere:
            return
        lost = m.Lost(source.name, nowhere, "interrupted: in the middle of a step", "Interrupted", time())
        if failed := self._engine.ask_store(lost):  # the others have ended meanwhile
            logger.error("%d downloads of %s got lost", len(failed), source.name)

    def _guard(self, mailbox: Any, guard: m.Guard) -> None:
        source = mailbox.source
        if guard.at != guard.transfer.look_at and guard.transfer.look_at > monotonic():
            return  # it was told again, and the other one is on the agenda
        self._engine.ask_store(m.Sync())  # progress may still be on its way to where a stall is looked for
        with mailbox.lock:
            now = monotonic()  # in here: others may have ended while this waited
            verdict = source.overdue(guard.transfer, now)
            if isinstance(verdict, str):
                source.give_up(guard.transfer, verdict, "TimeoutError", now, time())
        if isinstance(verdict, str):
            logger.error("gave up on %s at %s: %s", guard.transfer.download_id, source.name, verdict)
            mailbox.changed()
        elif verdict is not None:
            self._supervisor.later(guard._replace(at=verdict))
            guard.transfer.look_at = (
                verdict  # last: if this step is interrupted before, the message comes again, and is the only one
            )


_NUMBERS: Final = count(1)
"""Of source actors, for the names of their threads."""


def _matters(due: m.Due) -> bool:
    """Whether something on the agenda still has a subject: most time-outs are noted for runs that end long before."""
    if isinstance(due, m.Guard):
        return due.mailbox.source.attempts.in_flight.get(due.transfer.ticket[ID]) is due.transfer
    return not isinstance(due, m.Retry) or due.download_id in due.mailbox.source.queue.tried
