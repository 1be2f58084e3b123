"""Harm from outside: exceptions raised in slots by another thread, slots that do not come to start, and a wall clock
that jumps.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from time import sleep, time
from types import FrameType
from typing import Any, Final
from unittest.mock import patch

from tests.chaos.books import Books
from tests.chaos.plan import Action
from tests.chaos.world import Clock, doze

from haulier._engine.shells import supervisor
from haulier._engine.shells.outlet import Outlet
from haulier._engine.shells.slot import SourceActor
from haulier._engine.shells.store import Store
from haulier._engine.shells.supervisor import SupervisorInbox
from haulier._threads.bell import Bell

__all__ = ["Killed", "Killer", "clock_patched", "sabotaged", "unaudited"]


class Killed(SystemExit):
    """Raised in a thread by another one."""


RUNNING: Final = SourceActor.on_receive.__code__
WAITING: Final = {
    "idle": frozenset({Outlet._lead.__code__, Outlet.next_download.__code__}),
    "supervisor": frozenset({SupervisorInbox.get.__code__}),
    "store": frozenset({Store.get.__code__}),
}
"""Who waits in what."""

MOST: Final = {"store": 2, "anywhere": 15}
"""Kills in one round: a store that dies more often than its restart policy allows is dead for good."""


class Killer:
    """Raises ``Killed`` in threads of the engine where they do nothing just now: a slot whose impl waits for something,
    one that waits for work, the supervisor and the store while they wait.

    Python raises it as soon as the call in C that the thread is in comes back. ``anywhere``: in any thread of haulier,
    whatever it does. That cannot be made good in every case, and nobody promises it.
    """

    def __init__(self, books: Books, actions: tuple[Action, ...], anywhere: bool = False) -> None:
        self._books, self._actions, self._anywhere = books, actions, anywhere
        self._kills: Counter[str] = Counter()
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
                sleep(2 * interval)  # who waits for the interpreter by now does so for the interval that was
                self._kill(action)
            finally:
                sys.setswitchinterval(interval)

    def _kill(self, action: Action) -> None:
        kind = "anywhere" if self._anywhere else action.kind
        if self._kills[kind] >= MOST.get(kind, len(self._actions)):
            return
        fit = sorted(ident for ident, frame in sys._current_frames().items() if _is_fit(kind, frame))
        if fit:
            ident = fit[int(action.pick * len(fit))]
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Killed))
            self._kills[kind] += 1
            self._books.count(f"killed: {kind}")


def _is_fit(kind: str, frame: FrameType) -> bool:
    """Whether a thread that is in ``frame`` is one of those that are to be killed."""
    if kind == "anywhere":
        return any(
            each.f_code.co_name == "_actor_loop" and "haulier" in each.f_code.co_filename for each in _stack(frame)
        )
    if kind == "working":
        return frame.f_code is doze.__code__ and any(each.f_code is RUNNING for each in _stack(frame))
    waits = frame.f_back if frame.f_code is Bell.wait.__code__ else frame
    return waits is not None and waits.f_code in WAITING[kind]


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


@contextmanager
def clock_patched(clock: Clock) -> Iterator[None]:
    """Have every module of haulier that looks at the wall clock look at ``clock``. The monotonic one stays."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] == "haulier" and getattr(module, "time", None) is time:
                stack.enter_context(patch.object(module, "time", clock.time))
        yield


@contextmanager
def unaudited() -> Iterator[None]:
    """Have no supervisor look every few seconds whether something got lost: it would hide that something did."""
    with patch.object(supervisor, "AUDIT_S", 3600.0):
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
                fails = draw.random() < share
            if fails:
                books.count(what)
                raise error()
            real(self)

        return start

    no_thread = failing("no thread for a slot", lambda: RuntimeError("can't start new thread"), 0.02, SourceActor.begin)
    on_start = failing("on_start failed", lambda: OSError("not yet"), 0.04, SourceActor.on_start)
    with patch.object(SourceActor, "begin", no_thread), patch.object(SourceActor, "on_start", on_start):
        yield
