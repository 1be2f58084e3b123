"""Decide what an answer without the file means: a pause, another attempt, or the end. Knows only status and headers."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from haulier.errors import PermanentError, Throttled
from haulier.fetchers.faults import FetchError

__all__ = ["DEFAULT_PAUSE_S", "refused", "retry_after_s", "utc_of"]

LONGEST_PAUSE_S: Final = 3600.0
"""A longer pause is cut to one hour, so that a mistake of the server does not stop its source for a year."""

SHORTEST_PAUSE_S: Final = 1.0
"""A throttled download spends no attempt, so 'Retry-After: 0' would make a busy loop."""

DEFAULT_PAUSE_S: Final = 60.0
"""The pause after a 429 without a readable ``Retry-After``."""

_WORTH_ANOTHER_TRY: Final = frozenset({202, 408, 425})
"""Statuses below 500 after which another attempt may get the file."""

_REFUSES_OR_PAUSES: Final = frozenset({403, 413, 420, 429})
"""Statuses that ask for a pause if they come with ``Retry-After``. Servers that limit rates use all of them."""

_DATE_OR_SECONDS: Final = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\s*,[^,]*|[^,]+", re.I)
"""One value of a list. The comma after the weekday of a date does not end the value."""


def refused(status: int, headers: Mapping[str, str]) -> Exception:
    """The exception for an answer that does not bring the file.

    - ``Throttled`` for a 429, and for every other retried status, 403, 413 and 420 if ``Retry-After`` says how long.
    - ``FetchError`` for 202, 408, 425 and 500 or above, without ``Retry-After``.
    - ``PermanentError`` for any other status.
    """
    try:
        text = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        text = f"HTTP status {status}"
    is_retried = status >= 500 or status in _WORTH_ANOTHER_TRY
    pause = retry_after_s(headers) if is_retried or status in _REFUSES_OR_PAUSES else None
    if status == 429 and pause is None:
        pause = DEFAULT_PAUSE_S
    if pause is not None:
        return Throttled(pause, f"{text}: again in {pause:g} s")
    return FetchError(text) if is_retried else PermanentError(text)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, between 1 and 3,600; None if it is missing or unreadable.

    Of several values the largest counts. A date is compared with the server's own ``Date``, so a wrong clock on either
    side does no harm.
    """
    longest = max(_pauses(headers), default=None)
    return None if longest is None else max(SHORTEST_PAUSE_S, min(LONGEST_PAUSE_S, longest))


def _pauses(headers: Mapping[str, str]) -> Iterator[float]:
    """Yield the seconds of each readable value of ``Retry-After``."""
    for value in _DATE_OR_SECONDS.findall(headers.get("Retry-After", "")):
        try:
            seconds = float(value)
        except ValueError:
            then = utc_of(value)
            if then is None:
                continue
            now = utc_of(headers.get("Date", ""))
            seconds = then - (time.time() if now is None else now)
        if not math.isnan(seconds):
            yield seconds


def utc_of(date: str) -> float | None:
    """An HTTP date in seconds since the epoch; None if it is unreadable."""
    try:
        moment = parsedate_to_datetime(date)
    except (TypeError, ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
