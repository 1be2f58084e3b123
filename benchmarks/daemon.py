"""The work of ``soak.py``: what a daemon does in months, repeated.

The number of a download decides everything about it. So each tenth of a run has exactly the same work, and
``Daemon.expected`` knows beforehand how many downloads succeed, fail and are cancelled.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any, Final

import tenacity

from haulier import (
    DownloadEngine,
    Event,
    Missed,
    PermanentError,
    QueueFull,
    RestartPolicy,
    RetryPolicy,
    SourceCrashed,
    SourceDown,
    SourcePolicy,
    Throttled,
    Transfer,
    UnknownDownload,
    current_transfer,
)

__all__ = ["Daemon"]

GUARD_S: Final = 120.0

FEW: Final = 500
MANY: Final = 1_000
"""With so many waiting downloads the daemon stops dispatching, until only ``FEW`` wait."""

OFTEN: Final = 1_000
"""Downloads between two crashes, cancels, waits, …"""

ENDS: Final = ("succeeded", "failed", "cancelled")


def pause(seconds: float) -> None:
    """Wait, as an impl waits for a server and a feeder for its queue."""
    threading.Event().wait(seconds)


# ---- impls -----------------------------------------------------------------------------------------------------------


def lands(download_id: str, target_id: Any, display_name: str) -> str:
    return "downloads/instant.bin"


def lands_sometimes_late(download_id: str, target_id: Any, display_name: str) -> str:
    if target_id % 500 == 18:
        pause(0.01)
    return "downloads/instant.bin"


def fails(download_id: str, target_id: Any, display_name: str) -> str:
    raise RuntimeError(f"no such file: {display_name}")


def fails_for_good(download_id: str, target_id: Any, display_name: str) -> str:
    raise PermanentError(f"gone: {display_name}")


def lands_at_the_third_attempt(download_id: str, target_id: Any, display_name: str, transfer: Transfer) -> str:
    if transfer.attempt < 3:
        raise OSError("connection reset")
    return "downloads/third.bin"


def crashes_once(download_id: str, target_id: Any, display_name: str) -> str:
    if target_id == "crash":
        raise SourceCrashed("the client is broken")
    return "downloads/instant.bin"


def is_throttled_once(download_id: str, target_id: dict[str, bool], display_name: str) -> str:
    if not target_id:
        target_id["throttled"] = True
        raise Throttled(0.002)
    return "downloads/second.bin"


def waits_until_cancelled(download_id: str, target_id: threading.Event, display_name: str) -> str:
    transfer = current_transfer()
    target_id.set()
    while not transfer.cancelled:
        pause(0.002)
    return "downloads/late.bin"


class Held:
    """An impl that waits until it is released."""

    def __init__(self, then: BaseException | None = None) -> None:
        self.started, self._go, self._then = threading.Event(), threading.Event(), then

    def __call__(self, download_id: str, target_id: Any, display_name: str) -> str:
        self.started.set()
        if not self._go.wait(GUARD_S):
            raise TimeoutError("the impl was not released in time")
        if self._then is not None:
            raise self._then
        return "downloads/held.bin"

    def let_go(self) -> None:
        self._go.set()


class Listening:
    """Two subscribers, one of them too slow."""

    def __init__(self, engine: DownloadEngine, counts: Counter[str]) -> None:
        self._counts = counts
        self._subscriptions = [engine.subscribe(self._fast), engine.subscribe(self._slow, capacity=100)]

    def _fast(self, event: Event) -> None:
        self._counts["events heard"] += 1

    def _slow(self, event: Event) -> None:
        pause(0.005)
        if isinstance(event, Missed):
            self._counts["events missed by a slow subscriber"] += event.events

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()


# ---- the daemon ------------------------------------------------------------------------------------------------------


class Daemon:
    """Feeds one engine."""

    def __init__(self, engine: DownloadEngine, tenth: int) -> None:
        self.engine = engine
        self.fed = 0
        """Downloads accepted so far."""
        self.expected: Counter[str] = Counter()
        """How many of them succeed, fail and are cancelled."""
        self.counts: Counter[str] = Counter()
        """Counts of all other operations."""
        self.peak_threads = 0
        self._rare = min(10_000, tenth)
        """Downloads between two hung impls, lost sources, new sources, …"""
        self._recent: list[str] = []
        self._register()

    def _register(self) -> None:
        register, unlimited = self.engine.register_source, RestartPolicy(10**9, 1.0, tenacity.wait_fixed(0.001))
        for number in range(1, 5):
            register(f"instant-{number}", SourcePolicy(concurrency=number), lands)
        register("progress", SourcePolicy(concurrency=2, thread_name="fetch-{target_id}"), self._progresses)
        retry = RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.002))
        register("retry", SourcePolicy(concurrency=2, retry=retry), lands_at_the_third_attempt)
        register("fails", SourcePolicy(), fails)
        register("polite", SourcePolicy(delay=0.0005, jitter=(0.5, 1.5)), lands)
        register("guarded", SourcePolicy(concurrency=2, timeout=60.0, stall_timeout=60.0), lands)
        register("bounded", SourcePolicy(max_queued=20), lands_sometimes_late)
        register("burst", SourcePolicy(concurrency=4), lands)
        register("crashes", SourcePolicy(restart=unlimited), crashes_once)
        register("throttled", SourcePolicy(concurrency=2), is_throttled_once)
        register("goes down", SourcePolicy(restart=RestartPolicy(intensity=0)))
        register("hangs", SourcePolicy(timeout=0.02))

    def _progresses(self, download_id: str, target_id: Any, display_name: str, transfer: Transfer) -> str:
        """An impl that writes its record as plugins do, and reads it back."""
        for part in range(1, 5):
            transfer.progress(part * 2048, 8192)
            patch = {"state": "InProgress, Downloading", "part": part}
            self.engine.update_record("progress", download_id, patch)
        record = self.engine.get_record("progress", download_id)
        if record is None or record["part"] != 4 or record["transferred"] != 8192:
            raise PermanentError(f"its own patches are not there: {record}")
        return "downloads/whole.bin"

    def feed(self, count: int, show: Callable[[int], None]) -> None:
        """Dispatch ``count`` downloads, and do all other work meanwhile. Return when all downloads have ended.

        ``show`` is called from time to time with the number of downloads dispatched so far in this call.
        """
        began = self.fed
        listening: Listening | None = None
        while (place := self.fed - began) < count:
            if place * 5 >= count and place * 5 < 2 * count and listening is None:
                listening = Listening(self.engine, self.counts)
            elif place * 5 >= 2 * count and listening is not None:
                listening.close()
                listening = None
            self._one(place)
            if place % OFTEN == 0:
                self._now_and_then()
                show(place)
            if place % self._rare == 0:
                self._seldom()
            if place == count // 2:
                self.engine.clear_all_completed_downloads()
            if place % 250 == 0:
                self._keep_up(MANY, FEW)
        self._keep_up(0, 0)

    def probe(self) -> float:
        """Return the CPU µs of all threads per instant download: the best of 50 bursts of 200, with no other work."""
        best_s = inf
        for _ in range(max(1, self._rare // 200)):
            pause(0.02)  # so that one slow moment of the machine does not hit them all
            began = time.process_time()
            for number in range(200):
                last = self._dispatch("instant-1", number)
            self.engine.wait(last, GUARD_S)
            best_s = min(best_s, time.process_time() - began)
        return 1e6 * best_s / 200

    # ---- one after another -------------------------------------------------------------------------------------------

    def _one(self, place: int) -> None:
        """Dispatch an everyday download: one of twenty kinds, in turn."""
        kind, number = place % 20, self.fed
        if kind < 12:
            self._dispatch(f"instant-{kind % 4 + 1}", number)
        elif kind < 14:
            self._dispatch("progress", number, extras={"video_id": f"v{number}", "title": "A song"})
        elif kind == 14:
            self._dispatch("retry", number)
        elif kind == 15:
            self._dispatch("fails", number, end="failed", impl=fails_for_good if place % 3 else None)
        elif kind == 16:
            self._dispatch("polite", number)
        elif kind == 17:
            self._dispatch("guarded", number)
        elif kind == 18:
            self._dispatch_until_accepted("bounded", place)
        else:  # a source that is idle for most of the time, and so gives its threads back
            self._dispatch("burst" if place % 5_000 < 1_000 else "instant-4", number)

    def _dispatch(
        self, source: str, target_id: Any, end: str = "succeeded", impl: Any = None, extras: Any = None
    ) -> str:
        download_id = self.engine.worker.dispatch(source, target_id, "A song", "song.bin", impl, extras)
        self.fed += 1
        self.expected[end] += 1
        if self.fed % 50 == 0:
            self._recent.append(download_id)
        return download_id

    def _dispatch_until_accepted(self, source: str, target_id: Any) -> None:
        while True:
            try:
                self._dispatch(source, target_id)
                return
            except QueueFull:
                self.counts["refused, the queue was full"] += 1
                pause(0.001)

    def _keep_up(self, many: int, few: int) -> None:
        """If more than ``many`` downloads are unfinished, wait until only ``few`` are."""
        self.peak_threads = max(self.peak_threads, threading.active_count())
        deadline = time.monotonic() + GUARD_S
        while self.fed - sum(self.ends().values()) > many:
            many = few
            pause(0.005)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not over after {GUARD_S:g} s: {self.fed:,} fed, {self.ends()}")

    def ends(self) -> Counter[str]:
        """Return how many downloads have succeeded, failed and been cancelled, by the engine's own count."""
        ends: Counter[str] = Counter()
        for status in self.engine.stats().values():
            ends.update(succeeded=status["succeeded"], failed=status["failed"], cancelled=status["cancelled"])
        return ends

    # ---- now and then, seldom ----------------------------------------------------------------------------------------

    def _now_and_then(self) -> None:
        engine = self.engine
        self._dispatch("crashes", "crash", end="failed")
        self._dispatch("crashes", "after")
        self._dispatch("throttled", {})
        self._cancel_one_that_waits_and_one_that_runs()
        record = engine.wait(self._dispatch("instant-1", 0), GUARD_S)
        for _ in engine.as_completed([self._dispatch("instant-2", n) for n in range(10)], GUARD_S):
            pass
        engine.as_completed([record["id"]])  # and never asked
        engine.remove_record("instant-1", record["id"])
        engine.add_record("by hand", record["id"], {"state": "Mine"})
        engine.update_record("by hand", record["id"], {"progress": 50.0})
        engine.update_record("by hand", record["id"], {"state": "Completed, Succeeded"})
        for download_id in self._recent:
            engine.update_record("instant-1", download_id, {"late": True})
            with suppress(UnknownDownload):  # retention may have let it go
                engine.explain(download_id)
        self._recent.clear()
        self.counts.update(("crashes of a source", "throttled", "records by hand"))

    def _cancel_one_that_waits_and_one_that_runs(self) -> None:
        started = threading.Event()
        runs = self._dispatch("cancelled", started, "cancelled", waits_until_cancelled)
        waits = self._dispatch("cancelled", 0, "cancelled", lands)
        behind = self._dispatch("cancelled", 0, "succeeded", lands)
        self._check(started.wait(GUARD_S), "it runs")
        self._check(self.engine.cancel_download(waits, "cancelled"), "the one that waits is cancelled")
        self._check(self.engine.cancel_download(runs, "cancelled"), "the one that runs is cancelled")
        self._check(not self.engine.cancel_download(runs), "the second cancel of the same is none")
        self._check(self.engine.wait(behind, GUARD_S)["phase"] == "succeeded", "the next one lands")
        self.counts.update(("cancelled while it waited", "cancelled while it ran"))

    def _seldom(self) -> None:
        self._lose_a_source()
        self._give_up_a_hung_impl()
        self._dispatch(f"host-{self.fed}.example", 0, impl=lands)
        list(self.engine.iter_records_for_source("instant-4"))
        self.engine.get_all_downloads()
        self.counts.update(("new source names", "looks at everything"))

    def _lose_a_source(self) -> None:
        crashes = Held(SourceCrashed("the site has gone"))
        ids = [self._dispatch("goes down", n, "failed", crashes) for n in range(4)]
        crashes.let_go()
        for record in self.engine.as_completed(ids, GUARD_S):
            self._check(record["phase"] == "failed", "what a lost source had fails")
        try:
            self._dispatch("goes down", 0, "failed", lands)
            raise AssertionError("a source that is down takes nothing")
        except SourceDown:
            pass
        self.engine.revive("goes down")
        self._check(self.engine.wait(self._dispatch("goes down", 0, impl=lands), GUARD_S)["attempt"] == 1, "it is back")
        self.counts["sources lost and revived"] += 1

    def _give_up_a_hung_impl(self) -> None:
        hangs = Held()
        record = self.engine.wait(self._dispatch("hangs", 0, "failed", hangs), GUARD_S)
        self._check(record["error_type"] == "TimeoutError", "it was given up")
        hangs.let_go()
        self.counts["hung impls given up"] += 1

    @staticmethod
    def _check(is_so: object, what: str) -> None:
        if not is_so:
            raise AssertionError(f"not so: {what}")
