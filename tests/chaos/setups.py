"""The sources of a round: which manners each has, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

import tenacity

from haulier import RestartPolicy, RetryPolicy, SourcePolicy

__all__ = ["RULES_ERROR", "Setup", "draw_setup", "first_setups"]

RULES_ERROR = "a retry policy of somebody's own"
PATIENT = 100_000
"""So many restarts or zombies never bring a source down."""


@dataclass(frozen=True)
class Setup:
    """A policy in plain numbers, so that two plans can be compared (tenacity's objects cannot)."""

    name: str
    steady: bool = False
    """Nobody changes its limit, delay or policy; so they can be held against the plan, to the microsecond."""
    concurrency: int = 0
    """0 in ``first_setups``: any."""
    delay: float = 0.0
    delay_from: Literal["end", "start"] = "end"
    jitter: tuple[float, float] | None = None
    delay_floor: float = 0.0
    max_queued: int | None = None
    attempts: int = 1
    retry_wait_s: float = 0.0
    broken_rule: bool = False
    """Its retry policy's own code raises now and then."""
    intensity: int = PATIENT
    restart_wait_s: float = 0.0
    on_crash: Literal["keep_queued", "error_queued"] = "keep_queued"
    timeout: float | None = None
    stall_timeout: float | None = None
    max_zombies: int = PATIENT
    discard_cancelled: bool = False
    thread_name: str | None = None
    fields: bool = False

    @property
    def may_hang(self) -> bool:
        """Whether a hung impl is given up on."""
        return self.timeout is not None or self.stall_timeout is not None

    @property
    def least_delay(self) -> float:
        """The least delay that jitter may draw."""
        return max(self.delay * (self.jitter[0] if self.jitter else 1.0), self.delay_floor)

    def policy(self) -> SourcePolicy:
        """The policy that it stands for."""
        wait = tenacity.wait_fixed(self.retry_wait_s)
        return SourcePolicy(
            concurrency=self.concurrency,
            delay=self.delay,
            delay_from=self.delay_from,
            jitter=self.jitter,
            delay_floor=self.delay_floor,
            max_queued=self.max_queued,
            retry=RetryPolicy(tenacity.stop_after_attempt(self.attempts), _breaks if self.broken_rule else wait),
            restart=RestartPolicy(self.intensity, 1.0, tenacity.wait_fixed(self.restart_wait_s)),
            on_crash=self.on_crash,
            timeout=self.timeout,
            stall_timeout=self.stall_timeout,
            max_zombies=self.max_zombies,
            discard_cancelled=self.discard_cancelled,
            username="somebody" if self.fields else None,
            thread_name=self.thread_name,
            record_fields={"title": "display_name", "url": None} if self.fields else {},
        )


def _breaks(state: tenacity.RetryCallState) -> float:
    if state.attempt_number == 2:
        raise ZeroDivisionError(RULES_ERROR)
    return 0.001


def first_setups() -> Iterator[Setup]:
    """What is sure to be there in each round; the rest is drawn."""
    yield Setup("one", steady=True, concurrency=1)
    yield Setup("one-spaced", steady=True, concurrency=1, delay=0.004, jitter=(0.5, 1.5), delay_floor=0.001)
    yield Setup("one-from-start", steady=True, concurrency=1, delay=0.003, delay_from="start")
    yield Setup("two", steady=True, concurrency=2, on_crash="error_queued")
    yield Setup("three", steady=True, concurrency=3, discard_cancelled=True)
    yield Setup("four", steady=True, concurrency=4, thread_name="fetch-{download_id}")
    yield Setup("hangs", timeout=0.040, max_zombies=PATIENT)
    yield Setup("stalls", stall_timeout=0.030, max_zombies=2)
    yield Setup("falls", intensity=2)
    yield Setup("small", max_queued=8)
    yield Setup("any")
    yield Setup("odd", broken_rule=True, attempts=3)


def draw_setup(draw: Random, first: Setup) -> Setup:
    """``first``, with what it leaves open drawn."""
    drawn = replace(
        first,
        attempts=draw.choice([1, 1, 2, 3]) if not first.broken_rule else first.attempts,
        retry_wait_s=draw.choice([0.0, 0.001, 0.004]),
        restart_wait_s=draw.choice([0.0, 0.001, 0.005]),
        discard_cancelled=first.discard_cancelled or draw.random() < 0.3,
        fields=draw.random() < 0.3,
    )
    if first.steady:
        return drawn
    return replace(
        drawn,
        concurrency=draw.randint(1, 4),
        delay=draw.choice([0.0, 0.0, 0.001, 0.003, 0.008]),
        delay_from=draw.choice(["end", "start"]),
        jitter=draw.choice([None, (0.5, 1.5), (0.0, 2.0)]),
        delay_floor=draw.choice([0.0, 0.0, 0.001]),
        on_crash=draw.choice(["keep_queued", "error_queued"]),
        timeout=first.timeout or draw.choice([None, None, None, 0.060]),
        stall_timeout=first.stall_timeout or draw.choice([None, None, None, 0.040]),
        max_queued=first.max_queued or draw.choice([None, None, 20]),
        intensity=draw.choice([first.intensity, first.intensity, 1]),
        max_zombies=draw.choice([first.max_zombies, first.max_zombies, 0, 1]),
    )
