"""``SafeLock``: a reentrant lock that an exception from a signal handler never leaves locked."""

from __future__ import annotations

import sys
from _thread import RLock
from typing import TYPE_CHECKING

__all__ = ["SafeLock"]

if TYPE_CHECKING or sys.version_info[:2] != (3, 14):
    SafeLock = RLock
else:

    class SafeLock(RLock):
        """An ``RLock`` whose ``with`` either enters its block or leaves the lock as it was.

        CPython 3.14 may run a signal handler after ``with lock`` has locked and before its block is entered. If the
        handler raises there (``KeyboardInterrupt``, say), an ``RLock`` stays locked for ever. Other versions do not.
        """

        def __enter__(self) -> bool:
            before = self._recursion_count()  # of the calling thread, so no other thread changes it
            try:
                self.acquire()  # the handler runs right after this call
            except BaseException:
                if self._recursion_count() > before:
                    self.release()
                raise
            return True
