"""Why a source takes nothing."""

from __future__ import annotations

from typing import Literal, NamedTuple

from haulier.errors import EngineClosed, HaulierError, SourceDown

__all__ = ["Refusal"]


class Refusal(NamedTuple):
    """Why a source takes nothing: ``kind`` is ``'down'`` or ``'closed'``."""

    kind: Literal["down", "closed"]
    reason: str

    def error(self, source: str) -> HaulierError:
        """The exception for whoever dispatches to it."""
        if self.kind == "closed":
            return EngineClosed(self.reason)
        return SourceDown(f"source {source!r} is down ({self.reason}); mend it, then revive({source!r})")
