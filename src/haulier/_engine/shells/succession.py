"""The two actors that every engine needs, its store and its supervisor. If one dies, a successor takes over."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final, Protocol

from haulier._engine.core.restarts import GoDown, RestartAt, Restarts
from haulier._engine.shells.actor import EngineActor, Inbox
from haulier._threads.log import Log

__all__ = ["Permanent", "Seat"]

logger = Log("haulier.actors")

NO_THREAD_S: Final = 0.25
"""Seconds until the next try if the system cannot start a thread."""


class Seat(Protocol):
    """The inbox of a permanent actor. It holds all the state, so that a successor can continue."""

    restarts: Restarts
    stopping: bool

    def vacated(self) -> None:
        """Note that the actor died, and that a successor does not run yet."""

    def rest(self, seconds: float) -> None:
        """Wait ``seconds``, or until the engine stops."""

    def end(self) -> None:
        """Note that the actor has ended, and that there will be no successor."""


class Permanent(EngineActor):
    """An actor that lives as long as its engine. Each successor is made with the same seat and ``rest``."""

    def __init__(self, name: str, inbox: Inbox, seat: Seat, *rest: Any) -> None:
        super().__init__(name, inbox)
        self._seat, self._rest = seat, rest
        self._verdict: RestartAt | GoDown | None = None

    def on_end(self) -> None:
        """Start a successor unless this actor was told to end. Runs on the dying thread, which can wait."""
        while True:
            try:
                self._hand_over()
                return
            except RuntimeError as error:  # 'can't start new thread'
                logger.error("cannot start a thread for %s, trying again: %s", self._name, error)
                self._seat.rest(NO_THREAD_S)
            except BaseException:  # try again: no other thread could start the successor
                logger.exception("cannot start a successor of %s, trying again", self._name)

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
            logger.critical("%s does not restart: %s", self._name, self._verdict.reason)
            seat.end()
            return
        seat.rest(self._verdict.at - monotonic())
        successor: EngineActor = type(self)(seat, *self._rest)  # type: ignore[arg-type]  # as the subclasses are made
        successor.begin()
