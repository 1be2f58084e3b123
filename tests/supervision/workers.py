"""An actor that does as it is told, and a register of what all its lives did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pykka
from tests.waiting import GUARD_S

from haulier.supervision import RestartPolicy

__all__ = ["AT_ONCE", "GUARD_S", "Register", "Worker", "got"]


AT_ONCE = RestartPolicy(intensity=10**9, wait=lambda _: 0.0)
"""Never down, and no rest."""


class Register:
    """What happened, in order: ``note(...)`` from the actor, ``wait_for`` from the test."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self._changed = threading.Condition()

    def note(self, what: Any) -> None:
        with self._changed:
            self.notes.append(what)
            self._changed.notify_all()

    __call__ = note

    def wait_for(self, what: Any, count: int = 1) -> None:
        """Wait until ``what`` (a note, or a function of a note) was noted ``count`` times."""
        matches: Callable[[Any], bool] = what if callable(what) else lambda note: bool(note == what)
        with self._changed:
            assert self._changed.wait_for(lambda: sum(map(matches, self.notes)) >= count, GUARD_S), self.notes

    def of(self, kind: type) -> list[Any]:
        """The notes of a kind."""
        with self._changed:
            return [note for note in self.notes if isinstance(note, kind)]


class Worker(pykka.ThreadingActor):
    """Notes its life in a register, and does as told: raises an exception, calls a function, answers anything else."""

    use_daemon_thread = True  # a test that fails is not to hang the run as well

    def __init__(self, register: Register) -> None:
        super().__init__()
        self.register = register
        register.note("init")

    def on_start(self) -> None:
        self.register.note("start")

    def on_stop(self) -> None:
        self.register.note("stop")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.register.note(("failure", exception_type))

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return message(self)
        self.register.note(("got", message))
        return message

    def double(self, number: int) -> int:
        return 2 * number


def got(register: Register) -> list[Any]:
    """The messages that were handled, in order."""
    return [note[1] for note in register.of(tuple) if note[0] == "got"]
