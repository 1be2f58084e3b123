"""The two actors that every engine needs, its store and its supervisor: where one dies, a successor takes over."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final, Protocol

from haulier._engine.core.restarts import GoDown, RestartAt, Restarts
from haulier._engine.shells.actor import EngineActor, Inbox
from haulier._threads.log import Log

__all__ = ["Permanent", "Seat"]

logger = Log("haulier.actors")

NO_THREAD_S: Final = 0.25
"""Until the next try, where the machine would not give a thread."""


class Seat(Protocol):
    """The inbox of a permanent actor: all that it knows is kept there, so that a successor can go on."""

    restarts: Restarts
    stopping: bool

    def vacated(self) -> None:
        """Its actor died, and a successor has yet to come."""

    def rest(self, seconds: float) -> None:
        """Wait so long, or until it is to stop."""

    def end(self) -> None:
        """There will be no successor."""


class Permanent(EngineActor):
    """An actor that lives as long as its engine. It is made of its seat and ``rest``, and so are its successors."""

    def __init__(self, name: str, inbox: Inbox, seat: Seat, *rest: Any) -> None:
        super().__init__(name, inbox)
        self._seat, self._rest = seat, rest
        self._verdict: RestartAt | GoDown | None = None

    def on_end(self) -> None:
        """Have a successor take over, unless this one was to end; on the dying thread, which can wait."""
        while True:
            try:
                self._hand_over()
                return
            except RuntimeError as error:  # 'can't start new thread'
                logger.error("no thread for %s: %s", self._name, error)
                self._seat.rest(NO_THREAD_S)
            except BaseException:  # whatever else goes wrong here, nobody but this thread could put it right
                logger.exception("the succession of %s failed", self._name)

    def _hand_over(self) -> None:
        seat = self._seat
        if self.left:
            seat.end()
            return
        if self._verdict is None:
            seat.vacated()
            cause = self.failure or RuntimeError("it ended")
            self._verdict = seat.restarts.crashed(monotonic(), cause)
            logger.error("%s died of %r", self._name, cause)
        if isinstance(self._verdict, GoDown):
            logger.critical("%s is not started again: %s", self._name, self._verdict.reason)
            seat.end()
            return
        seat.rest(self._verdict.at - monotonic())
        successor: EngineActor = type(self)(seat, *self._rest)  # type: ignore[arg-type]  # as the subclasses are made
        successor.begin()
