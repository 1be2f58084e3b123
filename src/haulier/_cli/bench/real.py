"""Run a scenario with the real engine. The impls sleep as long as the scenario says."""

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
"""Seconds between two checks whether the run must stop."""


class BenchFailure(Exception):
    """The scenario lets this attempt fail."""


def run(scenario: Scenario, trace: str | os.PathLike[str], stopped: Callable[[], bool] = lambda: False) -> bool:
    """Run ``scenario`` once and append its trace to the file ``trace``. Returns False if ``stopped`` ended it early.

    Raises ``OSError`` if the trace cannot be written.
    """
    ending = Event()
    jobs = scenario.jobs()
    with DownloadEngine(trace=trace) as engine:
        try:
            for name in scenario.names:
                engine.register_source(name, policy=scenario.policy(name), impl=partial(_sleep, ending))
            # No handing over: an arrival must not wait until an idle source has taken the one before.
            worker = BackgroundDownloadWorker(engine, hands_over=False)
            ids, since, sleeper = [], monotonic(), Event()
            for job in jobs:
                while (left := since + job.arrives_s - monotonic()) > 0:
                    if stopped():
                        return False
                    sleeper.wait(min(left, LOOK_S))
                ids.append(worker.dispatch(job.source, job, f"download {job.number}", ""))
            return _wait(engine, ids, stopped)
        finally:
            ending.set()


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


def _sleep(ending: Event, _: str, job: Job, __: str, transfer: Transfer) -> str:
    attempt = job.attempts[transfer.attempt - 1]
    ending.wait(attempt.seconds)
    if attempt.ending == "crash":
        raise SourceCrashed("the scenario asks for it")
    if attempt.ending == "fail":
        raise BenchFailure("the scenario asks for it")
    return "nowhere"
