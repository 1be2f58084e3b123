"""haulier's loggers: as any other, but that a log handler which fails costs a line in the log and nothing else."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

__all__ = ["Log"]


class Log(logging.LoggerAdapter[logging.Logger]):
    """The logger ``name``. What its handlers raise goes to stderr, as ``logging.Handler.handleError`` has it.

    haulier logs in the middle of what must not fail, e.g. as it starts the successor of what has just died. A handler
    of the program's own may raise there, be it only ``EngineClosed``, because it called the engine.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, whatever the handlers do."""
        if not self.isEnabledFor(level):
            return
        try:
            self.logger.log(level, msg, *args, **kwargs, stacklevel=2)  # the caller's line, not this one
        except Exception:
            if logging.raiseExceptions and sys.stderr is not None:
                with suppress(Exception):
                    traceback.print_exc()
