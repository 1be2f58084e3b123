"""What becomes of open engines at the interpreter's exit, and in a forked child."""

from __future__ import annotations

import atexit
import os
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

from haulier.errors import forked

__all__ = ["open_engines"]

EXIT_S: Final = 0.2
"""How long the interpreter's exit waits for each actor of an engine that was not closed, in seconds."""


class _Forked:
    """Takes the place of the parent's actors in a forked child: every use raises ``ForkedEngine``."""

    def __getattr__(self, _: str) -> Any:
        raise forked()


def _at_exit() -> None:
    """Close every engine that is still open, and wait at most ``EXIT_S`` for each actor.

    Threads freeze when the interpreter ends, and a frozen thread never releases its locks.
    """
    for engine in list(open_engines):
        if not isinstance(engine._system, _Forked):
            engine._system.close(monotonic(), EXIT_S)


def _after_fork() -> None:
    for engine in list(open_engines):
        if isinstance(engine._system, _Forked):
            continue  # already replaced: this child's parent is a forked child itself
        engine._system.store.forked = True
        for mailbox in engine._system.sources():
            mailbox.forsake()
        engine._system = _Forked()


open_engines: WeakSet[Any] = WeakSet()
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
