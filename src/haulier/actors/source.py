"""A source actor: one slot. Its inbox is the source's mailbox; its handler runs the impl, on its own thread."""

from __future__ import annotations

import logging
import os
import threading
from time import monotonic, sleep
from typing import Any, Final

from haulier import messages as m
from haulier.actors.actor import EngineActor, Inbox, Mail
from haulier.actors.calling import caller_of
from haulier.actors.mailbox import Done, Mailbox
from haulier.core.outcome import Failed, Landed, Outcome, judge, text_of
from haulier.errors import SourceCrashed
from haulier.transfer import Transfer, set_current

__all__ = ["SlotCrashed", "SourceActor"]

logger = logging.getLogger("haulier.source")

BREATH_S: Final = 50e-6
"""Downloads that end at once never block, so their slot would keep the others from the interpreter: after so long
without a break it gives way."""


class SlotCrashed(Exception):
    """The impl crashed its source: raised in the handler, so that the actor fails as any pykka actor does."""


class _Turns(Inbox):
    """The inbox of one slot: each ``get`` is a turn at the mailbox."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.done: Done | None = None
        self.in_hand: Transfer | None = None
        self.left = False
        self._mailbox = mailbox
        self._mail = Mail(None)

    def get(self) -> Mail:
        """Report the last download and wait for the next one; None for 'leave'."""
        done, self.done = self.done, None
        transfer = self._mailbox.next_turn(done)
        self.in_hand = transfer
        self.left = transfer is None
        self._mail.message = transfer
        return self._mail


class SourceActor(EngineActor):
    """One slot of a source."""

    def __init__(self, mailbox: Mailbox, number: int) -> None:
        self._turns = _Turns(mailbox)
        super().__init__(f"haulier-{mailbox.source.name}-{number}", self._turns)
        self._mailbox = mailbox
        self._running = False
        self._busy_since = 0.0

    def on_start(self) -> None:
        """Be counted."""
        self._mailbox.slots.add(self)

    @property
    def in_hand(self) -> Transfer | None:
        """The download that it runs, or reported last."""
        return self._turns.in_hand

    @property
    def is_zombie(self) -> bool:
        """Whether it runs something that was given up on."""
        transfer = self._turns.in_hand
        in_flight = self._mailbox.source.in_flight
        return self._running and transfer is not None and in_flight.get(transfer.ticket[0]) is not transfer

    def on_receive(self, transfer: Transfer | None) -> None:
        """Run one download, or leave."""
        if transfer is None:
            self.leave()
            return
        self._running = True
        path, error = self._run(transfer)
        self._running = False
        self._turns.done = Done(transfer, self._judge(transfer, path, error))
        self._give_way(transfer)

    def _run(self, transfer: Transfer) -> tuple[Any, Exception | None]:
        ticket = transfer.ticket
        impl = self._mailbox.common if ticket[6] is None else ticket[6]
        assert impl is not None
        name = ticket[7]
        if name is not None:
            threading.current_thread().name = name
        set_current(transfer)
        if logger.isEnabledFor(logging.INFO):
            logger.info("start of %s at %s (attempt %d)", ticket[0], ticket[1], transfer.attempt)
        if self._mailbox.handoffs:
            self._mailbox.started(ticket[0])
        try:
            return caller_of(impl)(impl, transfer), None
        except SourceCrashed as crash:
            raise SlotCrashed(text_of(crash)) from crash
        except Exception as error:
            return None, error
        except BaseException as crash:
            raise SlotCrashed(text_of(crash)) from crash
        finally:
            set_current(None)
            if name is not None:
                threading.current_thread().name = self._name

    def _judge(self, transfer: Transfer, path: Any, error: Exception | None) -> Outcome:
        """Decide, outside any lock, since a retry policy may be anybody's code; then log."""
        if error is None and path:
            outcome: Outcome = Landed(path if isinstance(path, str) else _text(path))
        else:
            policy = self._mailbox.source.policy
            elapsed_s = monotonic() - transfer.first_start
            try:
                outcome = judge(policy, transfer.attempt, path, error, elapsed_s, transfer.idle_s)
            except Exception as broken:
                logger.exception("the retry policy of %s failed", transfer.source)
                cause = error or broken
                outcome = Failed(text_of(cause), type(cause).__name__)
        self._log(transfer, outcome, error)
        return outcome

    def _log(self, transfer: Transfer, outcome: Outcome, error: Exception | None) -> None:
        what = (type(outcome).__name__, transfer.download_id, transfer.source)
        if isinstance(outcome, Failed) and not transfer.fenced:
            logger.error("%s: %s at %s", *what, exc_info=error)
        elif logger.isEnabledFor(logging.INFO):
            logger.info("%s: %s at %s", *what)

    def _give_way(self, transfer: Transfer) -> None:
        now = monotonic()
        if now - transfer.started_at > BREATH_S:
            self._busy_since = now
        elif now - self._busy_since > BREATH_S:
            sleep(0)
            self._busy_since = monotonic()

    def on_end(self) -> None:
        """Tell the supervisor of an end that is none of the mailbox's doing."""
        self._mailbox.slots.discard(self)
        if not self._turns.left:
            in_hand = self._turns.in_hand
            cause = self.failure
            if isinstance(cause, SlotCrashed) and cause.__cause__ is not None:
                cause = cause.__cause__
            self._mailbox.tell_supervisor(m.Ended(self._mailbox, in_hand, cause or SlotCrashed("it ended")))


def _text(path: Any) -> str:
    return os.fspath(path) if isinstance(path, os.PathLike) else str(path)
