"""What several workloads share: block a source, wait for a condition, measure the process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["PATH", "TIMEOUT_S", "Held", "Ticker", "cpu_s_of", "peak_rss_kib", "rss_bytes", "wait_until"]

PATH: Final = "downloads/instant.bin"

TIMEOUT_S: Final = 240.0

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Held:
    """An impl that waits until it is released. A source's only impl may also call it in order to wait."""

    def __init__(self) -> None:
        self._started, self._go = threading.Event(), threading.Event()

    def __call__(self, download_id: str = "", target_id: Any = None, display_name: str = "") -> str:
        self._started.set()
        if not self._go.wait(TIMEOUT_S):
            raise TimeoutError("the impl was not released in time")
        return PATH

    def await_start(self) -> None:
        if not self._started.wait(TIMEOUT_S):
            raise TimeoutError("it was never started")

    def let_go(self) -> None:
        self._go.set()


class Ticker:
    """A thread that wakes up every millisecond, as an event loop or a player does, and notes its worst delay."""

    PERIOD_S: Final = 0.001

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="ticker", daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        last = time.perf_counter()
        while not self._end.is_set():
            time.sleep(self.PERIOD_S)
            now = time.perf_counter()
            self.worst_s = max(self.worst_s, now - last - self.PERIOD_S)
            last = now

    def stop(self) -> float:
        """Stop the thread, and return its worst delay in seconds."""
        self._end.set()
        self._thread.join()
        return self.worst_s


def wait_until(done: Callable[[], bool], every_s: float = 0.001) -> None:
    """Wait for a condition. Raises ``TimeoutError`` if it does not come true in time."""
    deadline = time.monotonic() + TIMEOUT_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not after {TIMEOUT_S:g} s")
        time.sleep(every_s)


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def peak_rss_kib() -> int:
    """Return the peak resident memory. ``getrusage`` would start with the parent's value after a fork."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0])


def cpu_s_of(seconds: float) -> float:
    """Sleep for ``seconds`` on this thread, and return the CPU seconds that the process used per second."""
    before = time.process_time()
    time.sleep(seconds)
    return (time.process_time() - before) / seconds
