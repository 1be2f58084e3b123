"""Harm from outside: exceptions raised in slots by another thread, slots that do not come to start, and a wall clock
that jumps.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from time import sleep, time
from types import FrameType
from typing import Any, Final
from unittest.mock import patch

import pykka
from tests.chaos.books import Books
from tests.chaos.plan import Action
from tests.chaos.world import Clock, doze

from haulier.actors.bell import Bell
from haulier.actors.mailbox import Mailbox
from haulier.actors.source import SourceActor

__all__ = ["Killed", "Killer", "clock_patched", "sabotaged"]


class Killed(SystemExit):
    """Raised in a thread by another one."""


WHOLE: Final = frozenset({SourceActor.on_receive.__code__})
LEADING: Final = frozenset({Mailbox._lead.__code__})


class Killer:
    """Raises ``Killed`` in slots, where that can be survived: in an impl, or while idle at the bell.

    Python raises it as soon as the call in C that the thread is in comes back. ``anywhere``: in any thread of haulier,
    whatever it does; what comes of that is nobody's promise.
    """

    def __init__(self, books: Books, actions: tuple[Action, ...], anywhere: bool = False) -> None:
        self._books, self._actions, self._anywhere = books, actions, anywhere
        self.over = threading.Event()

    def run(self) -> None:
        """Carry out every action."""
        for action in self._actions:
            doze(action.pause_s)
            if self.over.is_set():
                return
            interval = sys.getswitchinterval()
            sys.setswitchinterval(1.0)  # between looking at a thread and hitting it, it is not to go on
            try:
                sleep(0)
                self._kill(action)
            finally:
                sys.setswitchinterval(interval)

    def _kill(self, action: Action) -> None:
        is_fit = is_haulier if self._anywhere else is_working if action.kind == "working" else is_idle
        fit = [ident for ident, frame in sys._current_frames().items() if is_fit(frame)]
        if fit:
            ident = sorted(fit)[int(action.pick * len(fit))]
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Killed))
            self._books.count("killed: anywhere" if self._anywhere else f"killed: {action.kind}")


def _codes(frame: FrameType | None) -> Iterator[Any]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def is_working(frame: FrameType) -> bool:
    """Whether a thread is a slot's whose impl does nothing just now."""
    return frame.f_code is doze.__code__ and not WHOLE.isdisjoint(_codes(frame))


def is_idle(frame: FrameType) -> bool:
    """Whether a thread is a slot's that waits for work."""
    return frame.f_code is Bell.wait.__code__ and frame.f_back is not None and frame.f_back.f_code in LEADING


def is_haulier(frame: FrameType) -> bool:
    """Whether a thread is one of haulier's."""
    return any("haulier/actors" in code.co_filename for code in _codes(frame)) and "_actor_loop" in {
        code.co_name for code in _codes(frame)
    }


@contextmanager
def clock_patched(clock: Clock) -> Iterator[None]:
    """Have every module of haulier that looks at the wall clock look at ``clock``. The monotonic one stays."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] == "haulier" and getattr(module, "time", None) is time:
                stack.enter_context(patch.object(module, "time", clock.time))
        yield


@contextmanager
def sabotaged(books: Books, seed: int | None) -> Iterator[None]:
    """Have a slot's ``on_start`` fail now and then, or the machine give no thread for one."""
    if seed is None:
        yield
        return
    draw, lock = Random(seed), threading.Lock()

    def failing(
        what: str, error: Callable[[], Exception], share: float, real: Callable[[Any], None]
    ) -> Callable[[Any], None]:
        def start(self: Any) -> None:
            with lock:
                fails = isinstance(self, SourceActor) and draw.random() < share
            if fails:
                books.count(what)
                raise error()
            real(self)

        return start

    no_thread = failing(
        "no thread for a slot",
        lambda: RuntimeError("can't start new thread"),
        0.02,
        pykka.ThreadingActor._start_actor_loop,
    )
    on_start = failing("on_start failed", lambda: OSError("not yet"), 0.04, SourceActor.on_start)
    with (
        patch.object(pykka.ThreadingActor, "_start_actor_loop", no_thread),
        patch.object(SourceActor, "on_start", on_start),
    ):
        yield
