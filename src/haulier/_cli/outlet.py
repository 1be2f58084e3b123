"""A text stream that survives a broken standard output: a closed pager or terminal, a full disk.

Downloads are more important than their progress report: they continue when nobody can read it.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from contextlib import suppress
from typing import Any, Final, TextIO

__all__ = ["Outlet", "Warnings", "stderr_line"]

_READER_HAS_GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO})
"""Errors of a pipe without a reader, and of a terminal that was closed."""


class Outlet:
    """A text stream that discards all text after the first write error. Rich can write to it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: TextIO = io.StringIO() if stream is None else stream
        self._broken = stream is None  # the shell closed it: '>&-'
        self._has_lost_text = False
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        """Write ``text``, unless the stream is broken."""
        if not self._broken:
            try:
                return self._stream.write(text)
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it is broken."""
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    @property
    def is_broken(self) -> bool:
        """Whether a write failed, so that text was lost."""
        return self._broken

    @property
    def has_lost_text(self) -> bool:
        """Whether text was lost that somebody may still want to read: not if the reader has gone, as ``head`` does."""
        return self._has_lost_text

    def line(self, text: str) -> None:
        """Write ``text`` as a line and flush it."""
        self.write(text + "\n")
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError | ValueError) -> None:
        """Redirect the stream to the null device.

        Otherwise the interpreter's flush at exit would fail and change the exit status.
        """
        self._broken = True
        self._has_lost_text = isinstance(error, OSError) and error.errno not in _READER_HAS_GONE
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def stderr_line(text: str) -> None:
    """Write a line to standard error, unless it is closed or broken."""
    if sys.stderr is not None:  # print(file=None) would write to standard output
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


class Warnings(logging.Handler):
    """Shows the warnings and errors of the logger ``name`` as lines on standard error, and counts them.

    ``quiet``: only count them, because the whole log is shown.
    """

    def __init__(self, name: str, *, quiet: bool) -> None:
        super().__init__(logging.WARNING)
        self.count = 0
        self._quiet = quiet
        logging.getLogger(name).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message of ``record``."""
        self.count += 1
        if not self._quiet:
            stderr_line(f"warning: {record.getMessage()}")
