"""A trace: a file to which an engine appends what it does, one JSON object a line. ``haulier.verify`` checks it.

Each line has ``run`` (which engine), ``event``, ``at`` (monotonic seconds) and mostly ``source`` and ``id``:

- ``opened``, ``closed``: the engine opened or closed, ``on`` that time (UTC seconds).
- ``rules``: from now on at most ``limit`` impls run at once, with at least ``delay`` seconds between two downloads,
  counted ``from`` an end or a start. With jitter ``delay`` is the shortest that may be drawn. ``paused``: whether the
  source is paused.
- ``queued``: a dispatch that ``began`` then has returned.
- ``start``: the impl is called for attempt number ``attempt``. The slot decided so when ``taken``. Delays between
  starts count from ``stamped``.
- ``taken_back``: the start could not be written to disk, so the impl was not called; the download waits again.
- ``returned``: the impl returned. ``end``: the slot reported that; the attempt ended when ``stamped``.
- ``refused``: the dispatch was interrupted after ``queued``, and raised.
- ``found``: an earlier engine left the download in the store; it waits, after ``attempts`` attempts.
- ``kept``: the engine is closed and the download still waits. The next engine on the same store resumes it.
- ``withdrawn``: the download was cancelled, or failed, while it waited. ``cancelled``: it was cancelled while it ran.
- ``gave_up``: the engine gave up on a hung impl. ``fell``: the slot died.
- ``suspended``: the source asked for a pause that lasts ``until`` then.
- ``over``: the record entered its terminal ``phase``. ``removed``: the record was removed.

No line says what was downloaded, so a trace can be shared.
"""

from __future__ import annotations

import json
import os
from time import monotonic, time
from typing import Any
from uuid import uuid4

from haulier._threads.lock import SafeLock
from haulier._threads.log import Log

__all__ = ["Trace"]

logger = Log("haulier.trace")


class Trace:
    """Appends lines to the file ``path``. Each line is one write, so that a killed process loses no earlier line.

    Any thread may call ``note``. If a write fails, e.g. because the disk is full, the trace ends and an error is
    logged; the engine continues.

    Raises ``OSError`` if the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(path, flags, 0o644)
        self._run = uuid4().hex[:8]
        self.lock = SafeLock()
        if _is_cut_off(path):
            os.write(self._fd, b"\n")
        self.note("opened", on=time(), pid=os.getpid())

    def note(self, event: str, **more: Any) -> None:
        """Append one line: ``event`` and the values in ``more``. Does nothing once the trace has ended."""
        rest = json.dumps(more)[1:]
        with self.lock:  # keeps the lines in the order of their times
            if self._fd < 0:
                return
            line = f'{{"run": "{self._run}", "event": "{event}", "at": {monotonic()!r}, {rest}\n'
            try:
                os.write(self._fd, line.encode())
            except OSError as error:
                self._fd = -1
                why = (error.strerror or "unknown error").lower()
                logger.exception("the trace ends here, because its file cannot be written to: %s", why)

    def close(self, whole: bool = True) -> None:
        """End the trace. ``whole``: every event has been noted, so also note that the engine closed."""
        with self.lock:  # nothing is noted after 'closed'
            if whole:
                self.note("closed", on=time())
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _is_cut_off(path: str | os.PathLike[str]) -> bool:
    """Whether the last line is cut off: Linux may end a killed process's write at the border of a page."""
    try:
        with open(path, "rb") as file:
            return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
    except OSError:
        return False  # a pipe, or a file that this user may only write to
