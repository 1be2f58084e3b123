"""How long a download takes: distributions, written as text such as ``lognormal:0.1,0.5``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

__all__ = ["Service", "recorded", "service"]

MOST_S: Final = 1e6
"""Seconds that one download may take at most: more is a typing error."""


@dataclass(frozen=True)
class Service:
    """A distribution of seconds. ``kind``: constant, exponential, lognormal or trace.

    ``mean`` and, for the lognormal one, ``sigma`` (of the logarithm). ``samples``: what was recorded, all of it equally
    likely.
    """

    kind: str
    mean: float
    sigma: float = 0.0
    samples: tuple[float, ...] = ()

    def draw(self, random: Random) -> float:
        """One of them, in seconds."""
        if self.kind == "exponential":
            return random.expovariate(1 / self.mean) if self.mean else 0.0
        if self.kind == "lognormal":
            # So that the mean is ``mean``, and not the median.
            return random.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        if self.kind == "trace":
            return random.choice(self.samples)
        return self.mean

    def __str__(self) -> str:
        if self.kind == "trace":
            return f"trace of {len(self.samples):,} (mean {self.mean:.3g} s)"
        return f"{self.kind} {self.mean:g} s" + (f", sigma {self.sigma:g}" if self.kind == "lognormal" else "")


def service(text: str) -> Service:
    """What ``--service`` means. Raises ``ValueError``, also for a file that cannot be read or is no trace."""
    kind, _, rest = text.partition(":")
    if kind == "trace" and rest:
        try:
            with open(rest, encoding="utf-8") as lines:
                samples = tuple(recorded(lines))
        except UnicodeDecodeError:
            raise ValueError(f"{rest} is no trace: it is no text") from None
        except OSError as error:
            raise ValueError(f"cannot read {rest}: {(error.strerror or 'it failed').lower()}") from None
        if not samples:
            raise ValueError(f"{rest} tells of no download that returned")
        return Service(kind, math.fsum(samples) / len(samples), samples=samples)
    numbers = rest.split(",")
    if kind in ("constant", "exponential") and len(numbers) == 1:
        return Service(kind, _seconds(numbers[0]))
    if kind == "lognormal" and len(numbers) == 2:
        mean, sigma = _seconds(numbers[0]), _number(numbers[1])
        if mean == 0 or not 0 <= sigma <= 10:
            raise ValueError(f"lognormal needs a mean above 0 and a sigma from 0 to 10, not {rest}")
        return Service(kind, mean, sigma)
    raise ValueError(f"{text!r} is none of constant:S, exponential:S, lognormal:MEAN,SIGMA, trace:FILE")


def recorded(lines: Iterable[str]) -> Iterator[float]:
    """The seconds from each start to its return in the lines of a trace. Raises ``ValueError`` for what is no trace."""
    started: dict[tuple[str, str], float] = {}
    broken = 0
    for number, line in enumerate(lines, 1):
        event = ""
        try:
            told = json.loads(line)
            run, event, at = str(told["run"]), told["event"], float(told["at"])
        except (ValueError, KeyError, TypeError):
            pass
        if broken and event != "opened":
            raise ValueError(f"line {broken} is no line of a trace")
        broken = 0 if event else number  # fine as the last one of an engine: its process was killed
        try:
            if event == "start":
                started[run, str(told["id"])] = float(told["stamped"])
            elif event == "returned" and (key := (run, str(told["id"]))) in started:
                yield _lasted(at - started.pop(key))
        except (ValueError, KeyError, TypeError):
            where = "this is no trace" if number == 1 else f"line {number} is no line of a trace"
            raise ValueError(f"{where}: a start or a return says too little") from None
    if broken == 1:
        raise ValueError("this is no trace")


def _lasted(seconds: float) -> float:
    if not seconds <= MOST_S:
        raise ValueError("that is no time")
    return max(0.0, seconds)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= MOST_S:
        raise ValueError(f"must be a number of seconds from 0 up, not {text}")
    return value
