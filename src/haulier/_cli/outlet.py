"""A text stream that survives a broken standard output: a closed pager or terminal, a full disk.

Downloads are more important than their progress report: they continue when nobody can read it.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["Outlet", "stderr_line", "warn_on_stderr"]


class Outlet:
    """A text stream that discards all text after the first write error. Rich can write to it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: TextIO = io.StringIO() if stream is None else stream
        self._broken = stream is None  # the shell closed it: '>&-'
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        """Write ``text``, unless the stream is broken."""
        if not self._broken:
            try:
                return self._stream.write(text)
            except (OSError, ValueError):
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it is broken."""
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    @property
    def is_broken(self) -> bool:
        """Whether a write failed, so that text was lost."""
        return self._broken

    def line(self, text: str) -> None:
        """Write ``text`` as a line and flush it."""
        self.write(text + "\n")
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        """Redirect the stream to the null device.

        Otherwise the interpreter's flush at exit would fail and change the exit status.
        """
        self._broken = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def stderr_line(text: str) -> None:
    """Write a line to standard error, unless it is closed or broken."""
    if sys.stderr is not None:  # print(file=None) would write to standard output
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


class _Warnings(logging.Handler):
    """Shows what is logged as a line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message of ``record``."""
        stderr_line(f"warning: {record.getMessage()}")


def warn_on_stderr(name: str) -> None:
    """Show the warnings of the logger ``name`` on standard error, from now on."""
    logger = logging.getLogger(name)
    if not any(isinstance(each, _Warnings) for each in logger.handlers):
        logger.addHandler(_Warnings(logging.WARNING))
