"""A scenario: its sources and downloads. Every random draw is made before the run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Final, Literal, NamedTuple

import tenacity

from haulier._cli.bench.service import Service
from haulier.policies import RestartPolicy, RetryPolicy, SourcePolicy, check_int, check_seconds

__all__ = ["Attempt", "Job", "Scenario"]

Ending = Literal["ok", "fail", "crash"]

_SERVICE: Final = Service("exponential", 0.1)

MOST_SOURCES: Final = 10_000
MOST_ATTEMPTS: Final = 5_000_000
"""The greatest number of attempts, with retries. Each is drawn before the run and takes some 100 bytes."""

_EVERY_CRASH: Final = 1_000_000_000
"""The restart intensity: practically unlimited, as a source that is down says nothing about its limits."""


class Attempt(NamedTuple):
    """How long an attempt takes, in seconds, and how it ends."""

    seconds: float
    ending: Ending


class Job(NamedTuple):
    """One download: its source, its arrival in seconds since the start, and all attempts that it may need."""

    source: str
    number: int
    arrives_s: float
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class Scenario:
    """The settings of a run. The downloads are assigned to the sources in turn.

    - ``concurrency``, ``delay``: several values are assigned to the sources in turn.
    - ``rate``: arrivals per second at all sources together, a Poisson process. None: all arrive at the start.
    - ``failures``, ``crashes``: the share of attempts that fail, or that crash their slot at a random moment.
    - ``retries``: how often a failed download is retried, ``retry_s`` seconds after each failure. A download that
      crashes its slot is not retried, as everywhere in haulier.
    - ``restart_s``: the seconds before a crashed slot is started again. It always is: no source goes down.

    Raises ``ValueError`` or ``TypeError`` with the name of the invalid field.
    """

    sources: int = 3
    downloads: int = 45
    concurrency: tuple[int, ...] = (1, 2, 3)
    delay: tuple[float, ...] = (0.05,)
    delay_from: Literal["end", "start"] = "end"
    jitter: tuple[float, float] | None = None
    rate: float | None = None
    service: Service = _SERVICE
    failures: float = 0.1
    crashes: float = 0.03
    retries: int = 1
    retry_s: float = 0.1
    restart_s: float = 0.2
    seed: int = 1

    def __post_init__(self) -> None:
        check_int("sources", self.sources, 1)
        check_int("downloads", self.downloads, 1)
        check_int("retries", self.retries, 0)
        if self.sources > MOST_SOURCES:
            raise ValueError(f"sources must be at most {MOST_SOURCES:,}, not {self.sources:,}")
        if self.downloads * (self.retries + 1) > MOST_ATTEMPTS:
            raise ValueError(f"downloads * (retries + 1) must be at most {MOST_ATTEMPTS:,}: each attempt takes memory")
        for name in ("concurrency", "delay"):
            if not getattr(self, name):
                raise ValueError(f"{name} must have at least one value")
        for name in ("failures", "crashes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, not {getattr(self, name)!r}")
        if self.failures + self.crashes > 1:
            raise ValueError(f"failures and crashes together must be at most 1, not {self.failures + self.crashes:g}")
        if self.rate is not None:
            check_seconds("rate", self.rate, above_zero=True)
        check_seconds("retry_s", self.retry_s)
        check_seconds("restart_s", self.restart_s)
        for name in self.names[: len(self.concurrency) * len(self.delay)]:
            self.policy(name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the sources."""
        digits = len(str(self.sources))
        return tuple(f"source-{number:0{digits}}" for number in range(1, self.sources + 1))

    def slots(self, name: str) -> int:
        """The concurrency of a source."""
        return self.concurrency[_place(name) % len(self.concurrency)]

    def policy(self, name: str) -> SourcePolicy:
        """The policy of one source."""
        place = _place(name)
        return SourcePolicy(
            concurrency=self.slots(name),
            delay=self.delay[place % len(self.delay)],
            delay_from=self.delay_from,
            jitter=self.jitter,
            retry=RetryPolicy(
                stop=tenacity.stop_after_attempt(self.retries + 1), wait=tenacity.wait_fixed(self.retry_s)
            ),
            restart=RestartPolicy(intensity=_EVERY_CRASH, wait=tenacity.wait_fixed(self.restart_s)),
        )

    def jobs(self) -> tuple[Job, ...]:
        """The downloads in the order of their arrival. The same scenario gives the same jobs."""
        names = self.names
        # One generator for each kind of draw: other failures must not change the arrivals and the durations.
        coming, lasting, ending = (Random(f"{self.seed} {what}") for what in ("coming", "lasting", "ending"))
        jobs, now = [], 0.0
        for number in range(self.downloads):
            if self.rate is not None:
                now += coming.expovariate(self.rate)
            attempts = tuple(self._attempt(lasting, ending) for _ in range(self.retries + 1))
            jobs.append(Job(names[number % len(names)], number + 1, now, attempts))
        return tuple(jobs)

    def _attempt(self, lasting: Random, ending: Random) -> Attempt:
        seconds, lot, share = self.service.draw(lasting), ending.random(), ending.random()
        if lot < self.crashes:
            return Attempt(seconds * share, "crash")
        return Attempt(seconds, "fail" if lot < self.crashes + self.failures else "ok")


def _place(name: str) -> int:
    return int(name.rpartition("-")[2]) - 1
