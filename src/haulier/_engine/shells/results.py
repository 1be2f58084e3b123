"""What an impl gave: a path, nothing, a value that is not a path, or a cancelled task."""

from __future__ import annotations

import inspect
import os
import sys
from concurrent.futures import CancelledError
from typing import Any

__all__ = ["as_failure", "is_cancelled_task", "path_of"]


def path_of(result: Any) -> tuple[str | None, TypeError | None]:
    """The path in what an impl returned, or why it has none.

    None and an empty path are no error: the download fails with what the impl itself wrote into the record. Closes a
    coroutine, which would warn otherwise.
    """
    if result is None:
        return None, None
    if isinstance(result, (str, os.PathLike)):
        path = os.fspath(result)
        if isinstance(path, str):
            return str.__str__(path) or None, None
    if inspect.iscoroutine(result):
        result.close()
        return None, TypeError("the impl returned a coroutine: it must block until the file is there")
    kind = type(result).__name__
    return None, TypeError(f"the impl returned a value of type {kind}: it must return a path as str or os.PathLike")


def is_cancelled_task(crash: BaseException) -> bool:
    """Whether a client cancelled one of its own asyncio tasks: an ordinary failure, since no source is broken."""
    asyncio = sys.modules.get("asyncio.exceptions")  # not imported here: that takes 20 ms, and most impls need none
    return asyncio is not None and isinstance(crash, asyncio.CancelledError)


def as_failure(crash: BaseException) -> Exception:
    """Make an ``Exception`` of an ``asyncio.CancelledError``, which is its cause: tenacity's rules look at no other."""
    failure = CancelledError(*crash.args)
    failure.__cause__ = crash
    return failure
