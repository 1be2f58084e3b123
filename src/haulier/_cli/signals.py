"""Note SIGINT, SIGTERM and SIGHUP instead of dying, so that running downloads can be stopped gracefully."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, Final

__all__ = ["Stop", "leave_on_ctrl_c"]

_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


_SHOW_CURSOR: Final = b"\x1b[?25h\r\n"


def _leave(signum: int, _: FrameType | None) -> None:
    """End this process at once. Partial files can be resumed however the process ends."""
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, _SHOW_CURSOR)  # the live table hides the cursor
    os._exit(128 + signum)


def leave_on_ctrl_c() -> None:
    """Make Ctrl-C end the process without a traceback while no ``Stop`` is entered."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


class Stop:
    """A context manager in which the first signal is only noted. A second signal ends the process at once.

    A signal that this process inherited as ignored (``nohup``, a background job) stays ignored.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        """The signal that arrived, or None. Poll it: a signal handler must not take a lock, so it wakes no thread."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    @property
    def exit_status(self) -> int | None:
        """128 plus the number of the signal, as in shells. None if no signal arrived."""
        return None if self.signum is None else 128 + self.signum

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.signum is not None:
            _leave(signum, None)
        self.signum = signum
