"""What all actors of a round have in common: the engine, the books, the clock, a place for files, when to let go."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from threading import Lock

from tests.chaos.books import Books
from tests.chaos.plan import Plan
from tests.chaos.setups import Setup

from haulier import DownloadEngine

__all__ = ["CLOSER", "GUARD_S", "Clock", "Dropped", "World", "doze"]

CLOSER = "closer"
"""The source of what closes its engine."""

GUARD_S = 60.0
"""What is not over by then hangs."""


class Dropped(Exception):
    """Nobody holds the engine any longer."""


def doze(seconds: float) -> None:
    """Do nothing for so long, in C: whoever is killed in here from outside leaves nothing half done."""
    nap = Lock()
    nap.acquire()
    nap.acquire(timeout=seconds)


class Clock:
    """The wall clock, which somebody sets now and then."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def time(self) -> float:
        """UTC seconds, or what the machine takes for them."""
        return time.time() + self.offset_s


class World:
    """One round."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        """Where files land."""
        self.books = Books((*plan.sources, Setup(CLOSER, concurrency=1)))
        self.clock = Clock()
        self.let_go = threading.Event()
        """Set once the impls that hang are to come back."""
        self.engine: DownloadEngine | None = None
        """None again once it has been dropped."""
        self.meetings = {setup.name: threading.Barrier(setup.concurrency) for setup in plan.sources}
        """Where as many impls of a source meet as may run at once."""
        self.changing = [setup.name for setup in plan.sources if not setup.steady]
