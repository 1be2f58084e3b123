"""What impls return and raise that nobody would have thought of, and what the books say of it."""

from __future__ import annotations

import asyncio
import os
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
    """A path that raises when it is asked for its text."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __fspath__(self) -> str:
        raise self._error


async def no_file() -> str:
    """A coroutine, where a path was wanted."""
    return "never"


def did_of_result(result: Any) -> Did:
    """What an impl did that returned ``result``."""
    if result is None or result == "":
        return Did("nothing", "")
    if isinstance(result, BadResult) or not isinstance(result, (str, os.PathLike)):
        return Did("odd", "")
    return Did("landed", os.fspath(result))


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
    if isinstance(error, SourceCrashed) or not isinstance(error, (Exception, asyncio.CancelledError)):
        return Did("crashed", text)
    return Did("failed", text, permanent=isinstance(error, PermanentError))
