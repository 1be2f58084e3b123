"""The supervisor: starts source actors, handles their deaths, and keeps the agenda of what is due later."""

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
from haulier._engine.shells.turns import SharedTurns
from haulier._engine.ticket import ID
from haulier._threads.bell import Bell
from haulier._threads.frames import clear_frames
from haulier._threads.log import Log
from haulier.policies import RestartPolicy

__all__ = ["SupervisorActor", "SupervisorInbox"]

logger = Log("haulier.supervisor")

AUDIT_S: Final = 5.0
"""How often to look for slots whose threads died without a report, in seconds."""

AGAIN_S: Final = 0.1
"""Seconds until a message whose handling failed is handled again."""

TRIES: Final = 3
"""How often a message is handled if that fails each time."""

FOR_EVER: Final = RestartPolicy(intensity=sys.maxsize, period=1.0, wait=tenacity.wait_exponential(0.01, max=1.0))
"""The supervisor restarts however often it dies: without it an engine starts no source actors."""

DISMISSED_S: Final = 0.01
"""Seconds until the next try to start a thread, if a waiting slot of another source was told to end its own."""

ABANDONED_S: Final = 0.5
"""How often to look whether an engine that the program dropped has finished, in seconds."""


class Engine(Protocol):
    """What the supervisor needs of the engine that it works for."""

    def sources(self) -> Iterable[Any]:
        """The mailboxes of all sources."""

    def ask_store(self, message: Any) -> Any:
        """Ask the store, and return its reply."""

    @property
    def is_unwell(self) -> bool:
        """Whether the store cannot write at present."""

    @property
    def turns(self) -> SharedTurns | None:
        """The limit of the whole engine; None if it has none."""

    def abandoned(self) -> bool:
        """End an engine that the program dropped, if it has nothing left to do. Returns whether it was ended."""


class SupervisorInbox(Inbox):
    """The supervisor's mailbox: a deque and an agenda, so that one thread waits for both."""

    def __init__(self) -> None:
        self.stopping = False
        self.restarts = Restarts(FOR_EVER)
        self.in_hand: Any = None
        """The message being handled. If the actor dies meanwhile, its successor handles the message again."""
        self.audit_at: float | None = None
        """When the next audit is due."""
        self._messages: deque[Any] = deque()
        self._agenda: Agenda[Any] = Agenda()
        self._prune_at = 1024
        self._bell = Bell()
        self._mail = Mail(None)

    def tell(self, message: Any) -> None:
        """Send ``message``. The supervisor handles it after earlier ones; one of ``messages.Due`` when it is due."""
        if self.stopping and isinstance(message, m.Ended):
            # No actor is left to handle it: an impl closed its own engine, and then crashed.
            message.mailbox.bury(message)
            return
        self._messages.append(message)
        self._bell.ring()

    def try_again(self, message: Any) -> None:
        """Handle a message again later, because handling it failed. After ``TRIES`` give up on it.

        Runs on the supervisor's own thread.
        """
        tries = message.tries + 1 if isinstance(message, m.Redo) else 1
        again = m.Redo(monotonic() + AGAIN_S, message.message if isinstance(message, m.Redo) else message, tries)
        if tries < TRIES:
            self.later(again)
            if tries == 1 and not isinstance(again.message, m.Audit):
                self.later(m.Audit(again.at, thorough=True))  # repairs what was half done and will not be repeated
        else:
            logger.critical("gave up on message %s, which failed %d times", type(again.message).__name__, TRIES)
            if isinstance(again.message, m.Ended):
                again.message.slot.is_reported = False  # so that the audit finds its dead thread
            self.later(m.Audit(again.at, thorough=True))

    def later(self, due: m.Due) -> None:
        """Put a message on the agenda. Runs on the supervisor's own thread."""
        self._agenda.add(due.at, due)
        if len(self._agenda) > self._prune_at:
            self._agenda.prune(_matters)
            self._prune_at = 2 * len(self._agenda) + 1024

    def get(self) -> Mail:
        """Wait for a message, or for the next one on the agenda that is due.

        A message is in hand before it leaves the queue. If the actor dies in between, its successor handles the message
        once more than needed, but never too few times.
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
        """Let the actor end once it has handled all earlier messages."""
        self.stopping = True
        self._bell.armed = True
        self._bell.ring()

    def vacated(self) -> None:
        """Note that the actor died. Messages are kept for its successor."""

    def rest(self, seconds: float) -> None:
        """Wait ``seconds``, or until ``stop`` is called."""
        until = monotonic() + seconds
        while not self.stopping and (left := until - monotonic()) > 0:
            self._bell.armed = True
            if not self.stopping:
                self._bell.wait(left)

    def end(self) -> None:
        """Do nothing: the inbox needs no end."""


class SupervisorActor(Permanent):
    """The thread that supervises."""

    def __init__(self, supervisor: SupervisorInbox, engine: Engine) -> None:
        super().__init__("haulier-supervisor", supervisor, supervisor, engine)
        self._supervisor = supervisor
        self._engine = engine

    def on_start(self) -> None:
        """Take over from a predecessor that died, if there was one."""
        if self._supervisor.restarts.total:
            left, self._supervisor.in_hand = self._supervisor.in_hand, None
            if left is not None:
                self._supervisor.try_again(left)
            self._supervisor.later(m.Audit(0.0, thorough=True))  # it may have died in the middle of a step

    def on_receive(self, message: Any) -> None:
        """Handle one message. If that raises, the supervisor lives on and tries again later."""
        if message is None:
            self.leave()
            return
        supervisor = self._supervisor
        try:
            self._handle(message.message if type(message) is m.Redo else message)
        except BaseException:
            supervisor.try_again(message)
            logger.exception("could not handle message %s", type(message).__name__)
        supervisor.in_hand = None

    def _handle(self, message: Any) -> None:
        match message:
            case m.Hire(mailbox):
                self._hire(mailbox)
            case m.Ended(mailbox, _, cause):
                if mailbox.bury(message):
                    logger.error("source %s crashed", mailbox.source.name, exc_info=cause)
                clear_frames(cause)
                if message.slot is not None and not isinstance(message.slot.failure, SlotCrashed):
                    # Not the impl crashed, but a step of the engine was interrupted. If this repair fails, it is tried
                    # again; ``bury`` then does nothing.
                    self._repair(mailbox)
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
                logger.warning("dead letter: %s", type(message).__name__)

    def _hire(self, mailbox: Any) -> None:
        """Start as many source actors as the source has work for."""
        mailbox.hiring = False
        while True:
            with mailbox.lock:
                if not mailbox.source.reserve_slot():
                    break
            slot = SourceActor(mailbox, next(_NUMBERS))
            mailbox.slots.add(slot)
            try:
                slot.begin()
            except RuntimeError as error:
                # 'can't start new thread': the machine is at its limit. Queued downloads wait for the next try.
                logger.error("cannot start a thread for source %s, trying again: %r", mailbox.source.name, error)
                with mailbox.lock:
                    mailbox.slots.discard(slot)
                    mailbox.source.slots.count_off()
                wait_s = DISMISSED_S if mailbox.idle.dismiss_one() else NO_THREAD_S
                self._supervisor.later(m.Wake(mailbox, monotonic() + wait_s))
                return
            self._audit_in(AUDIT_S)
        if self._engine.turns is not None and not mailbox.source.lacks_slots:
            with mailbox.lock:
                mailbox.source.pass_on_unless_wanted()

    def _audit_in(self, seconds: float) -> None:
        supervisor = self._supervisor
        if supervisor.audit_at is None:
            supervisor.audit_at = monotonic() + seconds
            supervisor.later(m.Audit(supervisor.audit_at))

    def _audit(self, thorough: bool) -> None:
        """Bury slots that died without a report. If ``thorough``, also repair each source."""
        for mailbox in self._engine.sources():
            if not (thorough or mailbox.slots):
                continue  # nothing can have died; there may be 100,000 such sources
            for slot in mailbox.lost_slots():
                logger.error("the thread of %s died without a report", slot)
                self._handle(m.Ended(mailbox, slot.in_hand, slot.failure or SlotCrashed("its thread died"), slot))
            mailbox.hiring = False
            try:
                if thorough:
                    self._repair(mailbox)
            finally:
                mailbox.changed()  # last: only now may the source need another slot
            if mailbox.slots:
                self._audit_in(AUDIT_S)
        if self._engine.turns is not None and self._engine.turns.look():
            self._audit_in(AUDIT_S)

    def _repair(self, mailbox: Any) -> None:
        """Repair a source after an interrupted step, and fail the downloads that it lost."""
        source = mailbox.source
        nowhere = mailbox.repair(self._engine.ask_store(m.Unfinished(source.name)))
        if not nowhere:
            return
        lost = m.Lost(source.name, nowhere, "interrupted: in the middle of a step", "Interrupted", time())
        if failed := self._engine.ask_store(lost):  # the others have ended meanwhile
            logger.error("%d downloads of %s failed: a step was interrupted", len(failed), source.name)

    def _guard(self, mailbox: Any, guard: m.Guard) -> None:
        source = mailbox.source
        if guard.at != guard.transfer.look_at and guard.transfer.look_at > monotonic():
            return  # a later Guard for this attempt is on the agenda
        self._engine.ask_store(m.Sync())  # so that progress sent before counts against a stall
        with mailbox.lock:
            now = monotonic()  # with the lock held, which may have taken time
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
"""Numbers for the names of source actors' threads."""


def _matters(due: m.Due) -> bool:
    """Whether a message on the agenda still matters. Most time-outs are for attempts that have ended long before."""
    if isinstance(due, m.Guard):
        return due.mailbox.source.attempts.in_flight.get(due.transfer.ticket[ID]) is due.transfer
    return not isinstance(due, m.Retry) or due.download_id in due.mailbox.source.queue.tried
