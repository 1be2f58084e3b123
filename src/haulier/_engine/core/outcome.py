"""What came of an attempt: a value that says what happens to the download and to its source."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from haulier._engine.core import retry
from haulier._engine.messages import Succeeded
from haulier.errors import DownloadCancelled, Throttled
from haulier.policies import SourcePolicy

__all__ = ["Again", "Failed", "Outcome", "PutBack", "Stopped", "judge"]


class Failed(NamedTuple):
    """It failed for good. ``error`` None: the record keeps what the impl wrote there itself."""

    error: str | None
    error_type: str | None


class Again(NamedTuple):
    """The attempt failed; the next one is in ``seconds``."""

    seconds: float
    error: str | None
    error_type: str | None


class PutBack(NamedTuple):
    """The source asked for a pause of ``seconds``; no attempt is spent."""

    seconds: float


class Stopped(NamedTuple):
    """The impl stopped because it saw that nobody wants the result any longer."""


Outcome: TypeAlias = Succeeded | Failed | Again | PutBack | Stopped


def text_of(error: BaseException) -> str:
    """What a record says of an exception: its text, or its type's name where that is empty."""
    try:
        return str(error) or type(error).__name__
    except BaseException:  # even its text may be anybody's code
        return type(error).__name__


def judge(
    policy: SourcePolicy, attempt: int, path: Any, error: Exception | None, elapsed_s: float, idle_s: float
) -> Failed | Again | PutBack | Stopped:
    """What comes of an attempt that returned no path (but ``path``) or raised ``error``.

    Raises what the retry policy's own objects raise.
    """
    if isinstance(error, Throttled):
        return PutBack(error.retry_after)
    if isinstance(error, DownloadCancelled):
        return Stopped()
    verdict = retry.decide(policy.retry, attempt, path, error, elapsed_s, idle_s)
    text, kind = (None, None) if error is None else (text_of(error), type(error).__name__)
    if isinstance(verdict, retry.RetryIn):
        return Again(verdict.seconds, text, kind)
    return Failed(text, kind)
