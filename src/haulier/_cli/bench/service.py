"""Distributions of how long an attempt takes, written as text such as ``lognormal:0.1,0.5``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from haulier.fetchers.texts import open_text

__all__ = ["Service", "recorded", "service"]

MOST_S: Final = 1e6
"""How long an attempt may take at most, in seconds. A larger value is a typing error."""


@dataclass(frozen=True)
class Service:
    """A distribution of seconds. ``kind``: constant, exponential, lognormal or trace.

    ``sigma`` is the standard deviation of the logarithm, for lognormal. ``samples`` are recorded durations, for trace;
    all of them are equally likely.
    """

    kind: str
    mean: float
    sigma: float = 0.0
    samples: tuple[float, ...] = ()

    def draw(self, random: Random) -> float:
        """Draw a duration in seconds."""
        if self.kind == "exponential":
            return random.expovariate(1 / self.mean) if self.mean else 0.0
        if self.kind == "lognormal":
            # Subtract sigma² / 2 so that ``mean`` is the mean, and not the median.
            return random.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        if self.kind == "trace":
            return random.choice(self.samples)
        return self.mean

    def __str__(self) -> str:
        if self.kind == "trace":
            return f"trace of {len(self.samples):,} (mean {self.mean:.3g} s)"
        return f"{self.kind} {self.mean:g} s" + (f", sigma {self.sigma:g}" if self.kind == "lognormal" else "")


def service(text: str) -> Service:
    """Parse ``--service``.

    Raises ``ValueError`` if the text is invalid, or if its file cannot be read or is not a trace.
    """
    kind, _, rest = text.partition(":")
    if kind == "trace" and rest:
        try:
            with open_text(rest) as lines:
                samples = tuple(recorded(lines))
        except UnicodeDecodeError:
            raise ValueError(f"{rest} is not a trace: it is not text") from None
        except OSError as error:
            raise ValueError(f"cannot read {rest}: {(error.strerror or 'unknown error').lower()}") from None
        except ValueError as error:
            raise ValueError(f"{rest}: {error}") from None
        if not samples:
            raise ValueError(f"{rest} contains no download that ended; choose another trace")
        return Service(kind, math.fsum(samples) / len(samples), samples=samples)
    numbers = rest.split(",")
    if kind in ("constant", "exponential") and len(numbers) == 1:
        return Service(kind, _seconds(numbers[0]))
    if kind == "lognormal" and len(numbers) == 2:
        mean, sigma = _seconds(numbers[0]), _number(numbers[1])
        if mean == 0 or not 0 <= sigma <= 10:
            raise ValueError(f"lognormal needs a mean above 0 and a sigma from 0 to 10, not {rest}")
        return Service(kind, mean, sigma)
    raise ValueError(
        f"unknown distribution {text!r}; use constant:S, exponential:S, lognormal:MEAN,SIGMA or trace:FILE"
    )


def recorded(lines: Iterable[str]) -> Iterator[float]:
    """Yield the seconds from each start to its return in the lines of a trace.

    Raises ``ValueError`` if the lines are not a trace.
    """
    started: dict[tuple[str, str], float] = {}
    broken = 0
    for number, line in enumerate(lines, 1):
        event = ""
        try:
            fields = json.loads(line)
            run, event, at = str(fields["run"]), fields["event"], float(fields["at"])
        except (ValueError, KeyError, TypeError):
            pass
        if broken and event != "opened":
            raise ValueError(f"line {broken} is not a line of a trace")
        broken = 0 if event else number  # allowed as the last line of an engine: its process was killed
        try:
            if event == "start":
                started[run, str(fields["id"])] = float(fields["stamped"])
            elif event == "returned" and (key := (run, str(fields["id"]))) in started:
                yield _duration(at - started.pop(key))
        except (ValueError, KeyError, TypeError):
            where = "this is not a trace" if number == 1 else f"line {number} is not a line of a trace"
            raise ValueError(f"{where}: a start or a return lacks an id or a time") from None
    if broken == 1:
        raise ValueError("this is not a trace")


def _duration(seconds: float) -> float:
    if not seconds <= MOST_S:
        raise ValueError(f"invalid duration {seconds}")
    return max(0.0, seconds)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"invalid number {text!r}") from None


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= MOST_S:
        raise ValueError(f"must be between 0 and {MOST_S:,.0f} seconds, not {text}")
    return value
