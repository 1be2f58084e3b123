"""Free what a failed call held: the frames in its traceback keep every local variable alive."""

from __future__ import annotations

import traceback

__all__ = ["clear_frames"]


def clear_frames(error: BaseException | None) -> None:
    """Clear the local variables of every frame that has ended and that ``error``, or one of its causes, refers to.

    Do this only once the error is logged: log handlers may show the variables. The traceback itself stays readable.
    """
    seen: set[int] = set()
    errors = [error]
    while errors:
        each = errors.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        errors += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            errors += each.exceptions
