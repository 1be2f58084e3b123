"""What impls return and raise that nobody would have thought of, and what the books say of it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.chaos.books import Did

from haulier import DownloadCancelled, PermanentError, SourceCrashed, Throttled

__all__ = ["BadResult", "BadText", "OwnBase", "did_of_error", "did_of_result", "no_file"]


class OwnBase(BaseException):
    """A crash of somebody's own."""


class BadText(Exception):
    """An error whose text is one itself."""

    def __str__(self) -> str:
        raise ValueError("no text")


class BadResult:
    """A path that cannot be told."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        raise self._error


async def no_file() -> str:
    """A coroutine, where a path was wanted."""
    return "never"


def did_of_result(result: Any) -> Did:
    """What an impl did that returned ``result``."""
    if asyncio.iscoroutine(result) or isinstance(result, BadResult):
        return Did("odd", "")
    return Did("landed", str(result)) if result else Did("nothing", "")


def did_of_error(error: BaseException) -> Did:
    """What an impl did that raised ``error``."""
    try:
        text = str(error) or type(error).__name__
    except Exception:
        text = type(error).__name__
    if isinstance(error, Throttled):
        return Did("throttled", text)
    if isinstance(error, DownloadCancelled):
        return Did("stopped", text)
    if isinstance(error, SourceCrashed) or not isinstance(error, Exception):
        return Did("crashed", text)
    return Did("failed", text, permanent=isinstance(error, PermanentError))
