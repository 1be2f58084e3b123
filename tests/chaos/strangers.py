"""Another part of the program that has actors of its own, and thinks that pykka is its alone."""

from __future__ import annotations

import traceback
from typing import Any

import pykka
from tests.chaos.books import Books
from tests.chaos.plan import Action
from tests.chaos.world import GUARD_S, doze

__all__ = ["Strangers"]


class Foreign(pykka.ThreadingActor):
    """An actor that is none of haulier's."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        """Answer; or bring all actors of the process down, as pykka has it."""
        if message == "exit":
            raise SystemExit(7)
        return message


class Strangers:
    """Starts, asks and stops actors of its own. Nothing else may harm them."""

    def __init__(self, books: Books, actions: tuple[Action, ...]) -> None:
        self._books, self._actions = books, actions
        self._theirs: list[pykka.ActorRef[Foreign]] = []

    def run(self) -> None:
        """Carry out every action."""
        for action in self._actions:
            try:
                getattr(self, f"_{action.kind}")(action)
                self._books.count(f"strangers: {action.kind}")
            except Exception:
                self._books.blame("foreign", f"strangers: {action.kind} raised\n{traceback.format_exc()}")
            doze(action.pause_s)
        for each in self._theirs:
            each.stop(timeout=GUARD_S)

    def _start(self, action: Action) -> None:
        if len(self._theirs) < 5:
            self._theirs.append(Foreign.start())

    def _ask(self, action: Action) -> None:
        for each in self._theirs:
            try:
                answer = each.ask(action.pick, timeout=GUARD_S)
            except pykka.ActorDeadError:
                self._books.blame("foreign", "somebody stopped a foreign actor")
            else:
                if answer != action.pick:
                    self._books.blame("foreign", f"a foreign actor was asked {action.pick} and answers {answer}")
                self._books.looks["foreign"] += 1

    def _stop(self, action: Action) -> None:
        if self._theirs:
            self._theirs.pop(int(action.pick * len(self._theirs))).stop(timeout=GUARD_S)

    def _stop_all(self, action: Action) -> None:
        self._ask(action)
        pykka.ActorRegistry.stop_all(timeout=GUARD_S)
        self._theirs.clear()

    def _broadcast(self, action: Action) -> None:
        pykka.ActorRegistry.broadcast({"to": "all"})

    def _exit(self, action: Action) -> None:
        """One of theirs ends by ``SystemExit``: pykka stops them all."""
        if self._theirs:
            self._ask(action)
            self._theirs[0].tell("exit")
            for each in self._theirs:
                if not each.actor_stopped.wait(GUARD_S):
                    self._books.blame("foreign", "a foreign actor was not stopped by pykka")
            self._theirs.clear()
