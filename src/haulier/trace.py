"""A trace: what an engine did and when, one JSON object a line, appended as it happens. ``haulier.verify`` checks it.

Each line has ``run`` (which engine), ``event``, ``at`` (monotonic seconds) and mostly ``source`` and ``id``:

- ``opened``, ``closed``: the engine, with ``on`` (UTC seconds).
- ``rules``: from now on at most ``limit`` at once, ``delay`` seconds (the least that jitter may draw) between two,
  counted ``from`` an end or a start; ``paused``.
- ``queued``: its dispatch ``began``, and has returned. ``start``: its impl is called for the ``attempt``th time; the
  decision was ``taken`` then, and the start ``stamped``, from which delays between starts count. ``returned``: the impl
  has. ``end``: its slot has reported that, ``stamped`` then.
- ``refused``: its dispatch was broken off after ``queued``, and raised.
- ``found``: it waits, after so many ``attempts``: an engine before this one left it in the store.
- ``kept``: it waits still, and the engine is closed: it goes on with the next one on the same store.
- ``withdrawn``: cancelled, or failed, while it waited. ``cancelled``: while it ran. ``gave_up``: on a hung impl.
  ``fell``: its slot died.
- ``suspended``: the source asked for a pause ``until`` then.
- ``over``: the record came into its last ``phase``. ``removed``: the record was taken out.

No line says what was downloaded: a trace can be shown to anybody.
"""

from __future__ import annotations

import json
import os
from threading import RLock
from time import monotonic, time
from typing import Any
from uuid import uuid4

from haulier._threads.log import Log

__all__ = ["Trace"]

logger = Log("haulier.trace")


class Trace:
    """Appends to the file ``path``. Each line is one write: any thread may note, and a killed process loses nothing.

    A file that cannot be written to any longer (a full disk) ends the trace, with an error in the log, no more.

    Raises ``OSError`` where the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(path, flags, 0o644)
        self._run = uuid4().hex[:8]
        self.lock = RLock()
        if _is_cut_off(path):
            os.write(self._fd, b"\n")
        self.note("opened", on=time(), pid=os.getpid())

    def note(self, event: str, **more: Any) -> None:
        """Write one line."""
        rest = json.dumps(more)[1:]
        with self.lock:  # so that the lines are in the order of their times
            if self._fd < 0:
                return
            line = f'{{"run": "{self._run}", "event": "{event}", "at": {monotonic()!r}, {rest}\n'
            try:
                os.write(self._fd, line.encode())
            except OSError:
                self._fd = -1
                logger.exception("the trace ends here: it cannot be written to")

    def close(self, whole: bool = True) -> None:
        """The engine is closed. ``whole``: all that there was to tell has been told; else it just ends."""
        with self.lock:  # nobody notes anything after it
            if whole:
                self.note("closed", on=time())
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _is_cut_off(path: str | os.PathLike[str]) -> bool:
    """Whether a process was killed in the middle of its last line: Linux ends a write at a page's border then."""
    try:
        with open(path, "rb") as file:
            return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
    except OSError:
        return False  # a pipe, or one that may be written only
