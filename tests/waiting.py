"""Waits of the tests, each with a hang guard: for an impl, for events, for threads, for a condition."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from haulier import Event

__all__ = ["GUARD_S", "Gatekeeper", "Listener", "at_once", "wait_until"]

GUARD_S: Final = 10.0
"""Seconds, longer than any step of a test takes: a test that has waited so long hangs."""


class Gatekeeper:
    """An impl that keeps its caller until it is let go, and remembers who was inside, in what order and when."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        """The target ids, in the order in which they came in."""
        self.ids: list[str] = []
        """Their download ids."""
        self.threads: list[str] = []
        """The names of the threads that they came on."""
        self.spans: list[tuple[float, float]] = []
        """From when to when (monotonic seconds) each was inside, in the order in which they left."""
        self.inside = 0
        self.peak = 0
        """The most that were ever inside at once."""
        self.calls: Counter[str] = Counter()
        """How often each download came in."""
        self._changed = threading.Condition()
        self._passes = 0
        self._open = False

    def __call__(self, download_id: str, target_id: Any, display_name: str) -> str:
        since = monotonic()
        with self._changed:
            self.order.append(target_id)
            self.ids.append(download_id)
            self.threads.append(threading.current_thread().name)
            self.calls[download_id] += 1
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            self._changed.notify_all()
            released = self._changed.wait_for(lambda: self._open or self._passes > 0, GUARD_S)
            self._passes -= not self._open
            self.inside -= 1
            self.spans.append((since, monotonic()))
            self._changed.notify_all()
        assert released, f"nobody let {target_id!r} go"
        return f"{display_name}.bin"

    def wait_inside(self, count: int = 1) -> None:
        """Wait until ``count`` are inside at once."""
        self._wait(lambda: self.inside == count, f"{count} inside")

    def wait_started(self, count: int) -> None:
        """Wait until ``count`` have come in, all in all."""
        self._wait(lambda: len(self.order) >= count, f"{count} started")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, GUARD_S), f"{what}: {self.inside} inside, {len(self.order)} came"

    def release(self, count: int = 1) -> None:
        """Let ``count`` go, now or once they come."""
        with self._changed:
            self._passes += count
            self._changed.notify_all()

    def open(self) -> None:
        """Keep nobody from now on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()


class Listener:
    """A subscriber that keeps what it hears: ``engine.subscribe(listener)``."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[Event]], object]) -> list[Event]:
        """Wait until ``condition(events)`` is true; the events so far."""
        with self._changed:
            assert self._changed.wait_for(lambda: bool(condition(self.events)), GUARD_S), self.events
            return list(self.events)

    def phases_of(self, download_id: str) -> list[str]:
        """The phases that a download went through, as heard so far."""
        with self._changed:
            return [e.phase for e in self.events if getattr(e, "phase", None) and e[0] == download_id]  # type: ignore[union-attr]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run ``calls`` on a thread each, let go together; their results, or the first exception."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)
    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            barrier.wait(GUARD_S)
            results[i] = calls[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), name=f"at-once-{i}", daemon=True) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    deadline = monotonic() + 3 * GUARD_S
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
        assert not thread.is_alive(), f"{thread.name} still runs"
    if errors:
        raise errors[0]
    return results


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until ``condition()`` is true, for what no event tells of. Fails with ``what`` after ``GUARD_S``."""
    until, tick = monotonic() + GUARD_S, threading.Event()
    while not condition():
        assert monotonic() < until, what
        tick.wait(0.001)
