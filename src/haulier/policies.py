"""Policies: settings of a source and of an engine. They are frozen, and checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import tenacity

from haulier.errors import DownloadCancelled, PermanentError

__all__ = ["RestartPolicy", "Retention", "RetryPolicy", "SourcePolicy"]

TenacityRule: TypeAlias = Callable[[tenacity.RetryCallState], Any]
"""A tenacity stop, wait or retry object, or any function of a ``RetryCallState``."""


NEVER_RETRIED: Final[tuple[type[Exception], ...]] = (PermanentError, DownloadCancelled)


def check_int(name: str, value: object, at_least: int) -> int:
    """Return ``value``. Raises ``TypeError`` unless it is an int (not a bool), ``ValueError`` if below ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, not {value!r}")
    return value


def check_seconds(name: str, value: object, *, above_zero: bool = False) -> float:
    """Return ``value`` as a float. Raises ``TypeError`` unless a number, ``ValueError`` if negative or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ValueError(f"{name} must be finite and {'above' if above_zero else 'at least'} 0, not {value!r}")
    return value


def _check_callable(name: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a tenacity object (or a function of a RetryCallState), not {value!r}")


def _failed_or_empty(state: tenacity.RetryCallState) -> bool:
    outcome = state.outcome
    return outcome is not None and (outcome.failed or not outcome.result())


def _exponential(first: float, most: float) -> tenacity.wait.wait_base:
    """A wait that doubles from ``first`` to ``most`` seconds, plus a random 0 to ``first`` seconds."""
    return tenacity.wait_exponential(multiplier=first, max=most) + tenacity.wait_random(0, first)


@dataclass(frozen=True)
class RetryPolicy:
    """Whether and when a failed attempt is retried, as tenacity objects. The default is one attempt.

    - ``stop``: when to give up, e.g. ``tenacity.stop_after_attempt(3)``. Attempts are counted from 1.
    - ``wait``: seconds until the next attempt, e.g. ``tenacity.wait_exponential(max=60)``.
    - ``retry``: which failures are retried; by default every exception and every empty result. It may also reject a
      path that the impl returned, e.g. ``tenacity.retry_if_result(is_html)``; if no attempt is left, the download
      fails. ``PermanentError`` and a cancel are never retried.

    Raises ``TypeError`` if one of them is not callable.
    """

    stop: TenacityRule = field(default_factory=lambda: tenacity.stop_after_attempt(1))
    wait: TenacityRule = field(default_factory=lambda: _exponential(first=1.0, most=60.0))
    retry: TenacityRule = _failed_or_empty

    def __post_init__(self) -> None:
        for name in ("stop", "wait", "retry"):
            _check_callable(name, getattr(self, name))

    @property
    def looks_at_paths(self) -> bool:
        """Whether ``retry`` may reject a path. Its default never does."""
        return self.retry is not _failed_or_empty


@dataclass(frozen=True)
class RestartPolicy:
    """How often and how soon a crashed source is restarted, after Erlang/OTP's restart intensity and period.

    - ``intensity``, ``period``: more than ``intensity`` restarts within ``period`` seconds bring the source down.
    - ``wait``: a tenacity wait object: seconds to rest before each restart. It sees restarts in a row as attempts. It
      runs on the supervisor's thread, so a ``wait`` that blocks delays the restarts of all sources.
    - ``calm``: after this many seconds without a crash, ``wait`` starts from its first value again.

    Raises ``ValueError`` or ``TypeError``, naming the field.
    """

    intensity: int = 3
    period: float = 5.0
    wait: TenacityRule = field(default_factory=lambda: _exponential(first=0.1, most=30.0))
    calm: float = 60.0

    def __post_init__(self) -> None:
        check_int("intensity", self.intensity, 0)
        check_seconds("period", self.period, above_zero=True)
        check_seconds("calm", self.calm)
        _check_callable("wait", self.wait)


@dataclass(frozen=True)
class Retention:
    """How many terminal records stay in memory, and for how long. The oldest leave first.

    - ``max_terminal``: records per engine.
    - ``max_age``: seconds since the end; None for no limit.
    - ``max_history``, ``history_age``: with a durable store, how many records that left memory stay in its history, and
      for how many seconds since their end. None for no limit.

    Raises ``ValueError`` or ``TypeError``, naming the field.
    """

    max_terminal: int = 10_000
    max_age: float | None = None
    max_history: int | None = None
    history_age: float | None = None

    def __post_init__(self) -> None:
        check_int("max_terminal", self.max_terminal, 0)
        if self.max_age is not None:
            check_seconds("max_age", self.max_age)
        if self.max_history is not None:
            check_int("max_history", self.max_history, 0)
        if self.history_age is not None:
            check_seconds("history_age", self.history_age)


@dataclass(frozen=True)
class SourcePolicy:
    """How one source is treated. ``SourcePolicy()`` is the policy of a source that was not registered.

    Serialization:

    - ``concurrency``: how many impls may run at once, at least 1.
    - ``delay``: the least seconds from the end of one download to the start of the next. With ``concurrency`` above 1
      they also lie between two starts. ``delay_from='start'`` measures from start to start only.
    - ``jitter``: a pair of factors, e.g. ``(0.5, 1.5)``. Each delay is multiplied by a random factor between the two,
      and is never below ``delay_floor`` seconds.
    - ``max_queued``: how many downloads may wait; None for no limit. A download that backs off, or that was put back
      because the source was throttled, counts as well. It is never refused, so up to ``concurrency`` more may wait.
    - ``on_full``: what ``dispatch`` does when the queue is full. ``'raise'`` raises ``QueueFull``. ``'drop_oldest'``
      queues the new download, and the one that has waited longest fails with ``error_type`` ``QueueFull``.

    Failure:

    - ``retry``, ``restart``: see ``RetryPolicy`` and ``RestartPolicy``.
    - ``on_crash``: what a crash does to the queued downloads: ``'keep_queued'`` keeps them, ``'error_queued'`` fails
      them.
    - ``timeout``: seconds that one attempt may take in all. ``stall_timeout``: seconds it may go without progress. The
      engine gives up on an impl that exceeds one: the attempt fails, and its thread is a zombie until it returns.
    - ``max_zombies``: more zombies than this bring the source down.
    - ``durable``: whether downloads are written to a durable store, if the engine has one.
    - ``resume_interrupted``: whether a download that ran when the process ended is queued again at the next start.
      Otherwise it fails.
    - ``at_most_once``: whether a kill never makes a download run again. Its start is on disk before its impl is called,
      which costs a commit. What ran when the process ended fails at the next start. Needs a durable store, and excludes
      ``resume_interrupted`` and ``durable=False``. Without it a download that was killed may run again.
    - ``discard_cancelled``: whether to delete a file that an impl returns for a download that was cancelled.

    Records and threads:

    - ``username``: the ``username`` of the record, instead of the source's name.
    - ``thread_name``: the name of the thread while an impl runs. ``{target_id}`` and ``{download_id}`` are filled in.
    - ``record_fields``: further keys, each mapped to ``'target_id'``, ``'display_name'`` or None. They fill keys that
      ``extra_record_fields`` leaves out.

    Raises ``ValueError`` or ``TypeError``, naming the field.
    """

    concurrency: int = 1
    delay: float = 0.0
    delay_from: Literal["end", "start"] = "end"
    jitter: tuple[float, float] | None = None
    delay_floor: float = 0.0
    max_queued: int | None = None
    on_full: Literal["raise", "drop_oldest"] = "raise"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    on_crash: Literal["keep_queued", "error_queued"] = "keep_queued"
    timeout: float | None = None
    stall_timeout: float | None = None
    max_zombies: int = 3
    durable: bool = True
    resume_interrupted: bool = False
    at_most_once: bool = False
    discard_cancelled: bool = False
    username: str | None = None
    thread_name: str | None = None
    record_fields: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_int("concurrency", self.concurrency, 1)
        check_seconds("delay", self.delay)
        check_seconds("delay_floor", self.delay_floor)
        check_int("max_zombies", self.max_zombies, 0)
        if self.max_queued is not None:
            check_int("max_queued", self.max_queued, 1)
        for name in ("timeout", "stall_timeout"):
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name), above_zero=True)
        if self.delay_from not in ("end", "start"):
            raise ValueError(f"delay_from must be 'end' or 'start', not {self.delay_from!r}")
        if self.on_full not in ("raise", "drop_oldest"):
            raise ValueError(f"on_full must be 'raise' or 'drop_oldest', not {self.on_full!r}")
        if self.on_crash not in ("keep_queued", "error_queued"):
            raise ValueError(f"on_crash must be 'keep_queued' or 'error_queued', not {self.on_crash!r}")
        if not isinstance(self.retry, RetryPolicy):
            raise TypeError(f"retry must be a RetryPolicy, not {self.retry!r}")
        if not isinstance(self.restart, RestartPolicy):
            raise TypeError(f"restart must be a RestartPolicy, not {self.restart!r}")
        if self.at_most_once and self.resume_interrupted:
            raise ValueError("at_most_once excludes resume_interrupted, which runs a download again after a kill")
        if self.at_most_once and not self.durable:
            raise ValueError("at_most_once needs durable=True: a start that is not on disk is forgotten by a kill")
        if self.jitter is not None:
            self._check_jitter(self.jitter)
        self._check_words()

    def _check_words(self) -> None:
        if not isinstance(self.record_fields, Mapping):
            raise TypeError(f"record_fields must be a mapping, not {self.record_fields!r}")
        for filler in self.record_fields.values():
            if filler not in ("target_id", "display_name", None):
                raise ValueError(
                    f"record_fields: a key is filled with 'target_id', 'display_name' or None, not {filler!r}"
                )
        if self.thread_name is None:
            return
        if not isinstance(self.thread_name, str):
            raise TypeError(f"thread_name must be a str, not {self.thread_name!r}")
        try:
            self.thread_name.format(target_id="", download_id="")
        except (LookupError, ValueError) as error:
            raise ValueError(f"thread_name may name {{target_id}} and {{download_id}}: {self.thread_name!r}") from error

    @staticmethod
    def _check_jitter(jitter: object) -> None:
        if not isinstance(jitter, tuple) or len(jitter) != 2:
            raise TypeError(f"jitter must be a pair of factors such as (0.5, 1.5), not {jitter!r}")
        low, high = (check_seconds("jitter", factor) for factor in jitter)
        if low > high:
            raise ValueError(f"jitter must go from the lower factor to the higher, not {jitter!r}")
