"""A source actor, which works one slot: it takes downloads from the source's mailbox and runs the impl."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any, Final

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, Failed, Outcome, judge, text_of
from haulier._engine.messages import Succeeded
from haulier._engine.shells.actor import ActorCrashed, EngineActor, Inbox, Mail
from haulier._engine.shells.calling import Caller, LateImpl, call_plainly, caller_of
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.results import as_failure, is_cancelled_task, path_of
from haulier._engine.ticket import IMPL, THREAD_NAME
from haulier._threads.log import Log
from haulier.errors import SourceCrashed
from haulier.transfer import Transfer, set_current

__all__ = ["SlotCrashed", "SourceActor"]

logger = Log("haulier.source")

BREATH_S: Final = 500e-6
"""How long a slot runs impls that never block before it lets other threads run, in seconds."""


class SlotCrashed(Exception):
    """The impl crashed its source. Raised in the handler, so that the actor fails as any pykka actor does."""


class _SlotInbox(Inbox):
    """The inbox of one slot. ``get`` waits at the source's mailbox for a download; None means 'leave'."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._mail = Mail(None)
        self.slot: SourceActor

    def get(self) -> Mail:
        """Wait for a download."""
        self._mail.message = self._mailbox.outlet.next_download(self.slot)
        return self._mail


class SourceActor(EngineActor):
    """One slot of a source."""

    def __init__(self, mailbox: Mailbox, number: int) -> None:
        inbox = _SlotInbox(mailbox)
        inbox.slot = self
        super().__init__(f"haulier-{mailbox.source.name}-{number}", inbox)
        self._mailbox = mailbox
        self.is_reported = False
        """Whether the supervisor knows that this actor has died."""
        self._busy_since = 0.0
        self._verbose = False
        self._impl: Any = None
        self._call: Caller = call_plainly
        self.in_hand: Transfer | None = None
        """The attempt that runs, until its end is reported."""

    @property
    def is_zombie(self) -> bool:
        """Whether it runs an attempt that was given up on."""
        return self.in_hand is not None and self.in_hand.given_up

    def on_receive(self, transfer: Transfer | None) -> None:
        """Run ``transfer``, and then each download that may start at once. None: leave."""
        report = self._mailbox.outlet.report
        self._verbose = logger.isEnabledFor(logging.INFO)
        while transfer is not None:
            if self._mailbox.source.writes_starts and not self._mailbox.outlet.write_start(transfer, self):
                if self.left:
                    break
                set_current(None)
                return  # wait at the inbox
            result, error = self._run(transfer)
            if type(result) is str and result and not self._mailbox.judges_results:
                outcome: Outcome = Succeeded(transfer, result)
            else:
                outcome = self._judge(transfer, result, error)
            if type(outcome) is not Succeeded or self._verbose:
                self._log(transfer, outcome, error)
            # The error's traceback refers to this frame, and so to itself: without this, all that the impl held would
            # stay in memory until the cycle collector runs.
            result = error = None
            following = report(transfer, outcome, self)
            if following is None:
                if self.left:
                    break
                set_current(None)
                return  # nothing may start now: wait at the inbox
            if following.started_at - self._busy_since > BREATH_S:
                self._breathe(following.started_at - transfer.started_at)
            transfer = following
        self.leave()

    def _breathe(self, last_s: float) -> None:
        """Let other threads run, unless the last impl took so long that it must have blocked."""
        if last_s <= BREATH_S:
            self._mailbox.give_way()
        self._busy_since = monotonic()
        self._verbose = logger.isEnabledFor(logging.INFO)

    def _run(self, transfer: Transfer) -> tuple[Any, Exception | None]:
        ticket, mailbox = transfer.ticket, self._mailbox
        impl = mailbox.common[ticket[IMPL]] if isinstance(ticket[IMPL], int) else ticket[IMPL]
        assert impl is not None
        set_current(transfer)
        taken = transfer.started_at
        if self._verbose or mailbox.intake.handoffs or transfer.claimed or ticket[THREAD_NAME] is not None:
            self._announce(transfer)
        if transfer.given_up:
            return None, None  # it was given up on before this thread could run: its record has ended
        if mailbox.trace is not None:
            about: dict[str, Any] = {"source": transfer.source, "id": transfer.download_id, "attempt": transfer.attempt}
            mailbox.trace.note("start", **about, taken=taken, stamped=transfer.started_at)
        try:
            if impl is not self._impl:
                if isinstance(impl, LateImpl):
                    impl = impl.find()
                self._impl, self._call = impl, caller_of(impl)
            return self._call(impl, transfer), None
        except SourceCrashed as crash:
            raise SlotCrashed(text_of(crash)) from crash
        except Exception as error:
            return None, error
        except BaseException as crash:
            if is_cancelled_task(crash):
                return None, as_failure(crash)
            raise SlotCrashed(text_of(crash)) from crash
        finally:
            if mailbox.trace is not None:
                mailbox.trace.note("returned", source=transfer.source, id=transfer.download_id)
            if ticket[THREAD_NAME] is not None:
                self.thread.name = self._name

    def _announce(self, transfer: Transfer) -> None:
        """Announce a start: thread name, log, a dispatch that waits; last the gate, whose delay counts from then."""
        if transfer.ticket[THREAD_NAME] is not None:
            self.thread.name = transfer.ticket[THREAD_NAME]
        if self._verbose:
            logger.info("start of %s at %s (attempt %d)", transfer.download_id, transfer.source, transfer.attempt)
        self._mailbox.outlet.started(transfer.download_id)
        if transfer.claimed:
            self._mailbox.outlet.confirm(transfer)

    def _judge(self, transfer: Transfer, result: Any, error: Exception | None) -> Outcome:
        """Decide what follows an attempt. No lock is held, because the result and the retry policy are users' code."""
        path = None
        try:
            if error is None:
                path, error = path_of(result)
            elapsed_s = monotonic() - (transfer.first_start or transfer.started_at)
            outcome = judge(self._mailbox.source.policy, transfer.attempt, path, error, elapsed_s, transfer.idle_s)
        except Exception as broken:
            logger.exception("could not judge the outcome of %s at %s", transfer.download_id, transfer.source)
            cause = error or broken
            return Failed(text_of(cause), type(cause).__name__)
        return Succeeded(transfer, path or "") if outcome is None else outcome

    def _log(self, transfer: Transfer, outcome: Outcome, error: Exception | None) -> None:
        what = (type(outcome).__name__, transfer.download_id, transfer.source)
        if isinstance(outcome, Failed) and not transfer.fenced:
            logger.error("%s: %s at %s", *what, exc_info=error)
        elif isinstance(outcome, BackOff):
            logger.warning("%s: %s at %s", *what, exc_info=error)
        elif logger.isEnabledFor(logging.INFO):
            logger.info("%s: %s at %s", *what)

    def on_end(self) -> None:
        """Release the locks. If the actor died, tell the supervisor."""
        mailbox, at = self._mailbox, monotonic()
        mailbox.let_go()
        if self.left:
            mailbox.slots.discard(self)
            return
        if self.in_hand is not None:
            mailbox.outlet.slot_died(self.in_hand)
        cause = self.failure
        if isinstance(cause, (SlotCrashed, ActorCrashed)) and cause.__cause__ is not None:
            cause = cause.__cause__
        mailbox.tell_supervisor(m.Ended(mailbox, self.in_hand, cause or SlotCrashed("it ended"), self, at))
        self.is_reported = True
