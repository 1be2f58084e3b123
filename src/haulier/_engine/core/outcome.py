"""The outcome of an attempt: a value that says what happens to the download and to its source."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from haulier._engine.core import retry
from haulier._engine.messages import Succeeded
from haulier.errors import DownloadCancelled, Throttled
from haulier.policies import SourcePolicy

__all__ = [
    "BackOff",
    "Failed",
    "Outcome",
    "PutBack",
    "StoppedEarly",
    "cut",
    "judge",
    "text_of",
]


class Failed(NamedTuple):
    """The download fails. ``error`` None keeps the text that the impl itself wrote into the record."""

    error: str | None
    error_type: str | None


class BackOff(NamedTuple):
    """The attempt failed, and the next one starts in ``seconds``."""

    seconds: float
    error: str | None
    error_type: str | None


class PutBack(NamedTuple):
    """The source asked for a pause of ``seconds``. The download goes back to the queue and spends no attempt."""

    seconds: float


class StoppedEarly(NamedTuple):
    """The impl stopped early because it was asked to."""


Outcome: TypeAlias = Succeeded | Failed | BackOff | PutBack | StoppedEarly


MOST_BYTES: Final = 4096
"""The longest error text of a record, in bytes of UTF-8. A server's whole page may be in the text of an exception."""


def text_of(error: BaseException, before: str = "") -> str:
    """The text of an exception for a record, after ``before``, cut to ``MOST_BYTES``.

    It is the name of its type if the text is empty or cannot be made.
    """
    name = type(error).__name__
    try:
        text = str.__str__(str(error)) or name
    except BaseException:  # __str__ is other people's code, and may raise anything
        text = name
    return cut(before + text)


def cut(text: str) -> str:
    """Cut a text to ``MOST_BYTES`` of UTF-8. Its end then says how many characters are missing."""
    if _size(text) <= MOST_BYTES:
        return text
    kept, left = 0, MOST_BYTES - _size(_mark(len(text)))
    for character in text:
        left -= _size(character)
        if left < 0:
            break
        kept += 1
    return text[:kept] + _mark(len(text) - kept)


def _mark(missing: int) -> str:
    return f"… (cut: {missing:,} more characters)"


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def judge(
    policy: SourcePolicy, attempt: int, path: str | None, error: Exception | None, elapsed_s: float, idle_s: float
) -> Failed | BackOff | PutBack | StoppedEarly | None:
    """Decide what follows an attempt that raised ``error``, or returned ``path`` (None: nothing). None: it succeeded.

    A path fails only if the policy's ``retry`` rejects it. Passes on what the retry policy's own objects raise; see
    ``retry.decide`` for the other arguments.
    """
    if isinstance(error, Throttled):
        return PutBack(error.retry_after)
    if isinstance(error, DownloadCancelled):
        return StoppedEarly()
    verdict = retry.decide(policy.retry, attempt, path, error, elapsed_s, idle_s)
    text, kind = (None, None) if error is None else (text_of(error), type(error).__name__)
    if path is not None:
        if isinstance(verdict, retry.GiveUp) and not verdict.is_exhausted:
            return None
        text, kind = cut(f"the retry policy rejects the result {path!r}"), "RetryError"
    if isinstance(verdict, retry.RetryIn):
        return BackOff(verdict.seconds, text, kind)
    return Failed(text, kind)
