"""A program whose main thread is interrupted by signals, anywhere in the middle of its calls of an engine.

``interrupted.py raise|close SEED TRACE``: the handler raises, again and again; or it closes the engine. At the end
every download must be over, and the trace right. Prints how often a call was interrupted in the middle.
"""

from __future__ import annotations

import faulthandler
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import haulier
from haulier.verify import verify

HANG_S = 40.0
STORM_S = 2.0
PERIOD_S = 0.0005
PATIENCE = 300
"""A handler that is to close waits for a moment in the middle of a step, but not for more signals than these."""
TERMINAL = ("succeeded", "failed", "cancelled")


class Interrupted(BaseException):
    """As ``KeyboardInterrupt``, or what a time-out raises by a signal."""


class Program:
    """Calls of every kind, at random."""

    def __init__(self, seed: int, trace: Path) -> None:
        self.random = random.Random(seed)
        self.engine = haulier.DownloadEngine(trace=trace)
        self.ids: list[str] = []
        for number in range(4):
            policy = haulier.SourcePolicy(concurrency=1 + number % 2, max_queued=50 if number == 3 else None)
            self.engine.register_source(f"s{number}", policy)

    def call(self) -> None:
        engine, source = self.engine, f"s{self.random.randrange(4)}"
        recent = self.random.choice(self.ids[-50:]) if self.ids else ""
        calls: list[Callable[[], object]] = [
            lambda: engine.cancel_download(recent),
            lambda: engine.update_record(source, recent, {"state": "Cancelled"}),
            lambda: engine.update_record_unless_state(source, recent, {"state": "Cancelled"}, ("Errored",)),
            lambda: engine.get_download_status(recent),
            lambda: engine.remove_record(source, recent),
            lambda: engine.worker.set_delay(source, 0),
            engine.stats,
        ]
        if self.random.random() < 0.6:
            try:
                self.ids.append(engine.worker.dispatch(source, 1, "n", "f", lambda *_: "/x"))
            except haulier.QueueFull:
                pass
        else:
            self.random.choice(calls)()

    def check(self, trace: Path) -> None:
        open_still = [r for r in self.engine.get_all_downloads() if r["phase"] not in TERMINAL]
        assert not open_still, open_still
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("haulier")]
        for thread in threads:
            thread.join(10)  # a slot that was hired as the engine closed leaves at once, but perhaps only now
        left = [thread.name for thread in threads if thread.is_alive()]
        assert not left, left
        with trace.open() as lines:
            assert verify(lines).open == 0


def storm(program: Program) -> int:
    """The handler raises, wherever it comes."""
    armed, interrupted = False, 0

    def handler(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, PERIOD_S, PERIOD_S)
    until = monotonic() + STORM_S
    while monotonic() < until:
        try:
            armed = True
            program.call()
            armed = False
        except Interrupted:
            interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    program.engine.close(drain=True)
    return interrupted


def closing(program: Program) -> int:
    """The handler closes the engine; the program finds out by its next call."""
    in_the_middle = signals = 0

    def handler(*_: object) -> None:
        nonlocal in_the_middle, signals
        signals += 1
        in_the_middle = int(program.engine._system.interrupts_itself)
        if in_the_middle or signals == PATIENCE:
            signal.setitimer(signal.ITIMER_REAL, 0)
            program.engine.close()

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, program.random.uniform(0.001, 0.05), PERIOD_S)
    try:
        while True:
            program.call()
    except haulier.EngineClosed:
        pass
    program.engine.close()
    for thread in threading.enumerate():
        if thread.name == "haulier-closer":
            thread.join()
    return in_the_middle


if __name__ == "__main__":
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    what, seed, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    program = Program(seed, path)
    count = storm(program) if what == "raise" else closing(program)
    program.check(path)
    print(count)
