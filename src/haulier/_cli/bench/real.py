"""The scenario with a real engine: real threads and clocks, and impls that sleep as long as their job says."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Event
from time import monotonic
from typing import Final

from haulier._cli.bench.scenario import Job, Scenario
from haulier._engine.engine import DownloadEngine
from haulier._engine.worker import BackgroundDownloadWorker
from haulier.errors import SourceCrashed
from haulier.transfer import Transfer

__all__ = ["run"]

LOOK_S: Final = 0.2
"""The longest until it is noticed that the run is no longer wanted."""


class BenchFailure(Exception):
    """An attempt that was to fail."""


def run(scenario: Scenario, trace: str | os.PathLike[str], stopped: Callable[[], bool] = lambda: False) -> bool:
    """Run it once, in about the time that it takes; ``trace`` is appended to. False where it was ``stopped`` before.

    Raises ``OSError`` where the trace cannot be written.
    """
    off = Event()
    jobs = scenario.jobs()
    with DownloadEngine(trace=trace) as engine:
        try:
            for name in scenario.names:
                engine.register_source(name, policy=scenario.policy(name), impl=partial(_sleep, off))
            # What arrives is not to wait for what came before, as it would for the hand-over to an idle source.
            worker = BackgroundDownloadWorker(engine, hands_over=False)
            ids, since, calm = [], monotonic(), Event()
            for job in jobs:
                while (left := since + job.arrives_s - monotonic()) > 0:
                    if stopped():
                        return False
                    calm.wait(min(left, LOOK_S))
                ids.append(worker.dispatch(job.source, job, f"download {job.number}", ""))
            return _wait(engine, ids, stopped)
        finally:
            off.set()


def _wait(engine: DownloadEngine, ids: list[str], stopped: Callable[[], bool]) -> bool:
    for each in ids:
        while True:
            if stopped():
                return False
            try:
                engine.wait(each, LOOK_S)
                break
            except TimeoutError:
                continue
    return True


def _sleep(off: Event, _: str, job: Job, __: str, transfer: Transfer) -> str:
    attempt = job.attempts[transfer.attempt - 1]
    off.wait(attempt.seconds)
    if attempt.ending == "crash":
        raise SourceCrashed("as the scenario has it")
    if attempt.ending == "fail":
        raise BenchFailure("as the scenario has it")
    return "nowhere"
