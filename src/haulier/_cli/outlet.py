"""Standard output that may go away: a pager that was quit, a terminal that was closed, a full disk.

What is written are news; the downloads are the work, and go on without a reader.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["Outlet", "stderr_line"]


class Outlet:
    """A text stream that swallows everything once it is broken. Rich can write to it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: TextIO = io.StringIO() if stream is None else stream
        self._broken = stream is None  # closed by the shell: '>&-'
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        """Write ``text``, if anybody can still read it."""
        if not self._broken:
            try:
                return self._stream.write(text)
            except (OSError, ValueError):
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    @property
    def is_broken(self) -> bool:
        """Whether something was swallowed."""
        return self._broken

    def line(self, text: str) -> None:
        """Write a line, at once."""
        self.write(text + "\n")
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        """Let the interpreter's own flush at exit go nowhere: it would complain, and change the exit status."""
        self._broken = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def stderr_line(text: str) -> None:
    """Write a line to standard error, if there is one."""
    if sys.stderr is not None:  # which print() would take for standard output
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)
