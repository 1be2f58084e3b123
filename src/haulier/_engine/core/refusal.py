"""Why a source refuses downloads, and the exception that says so."""

from __future__ import annotations

from typing import Literal, NamedTuple

from haulier.errors import EngineClosed, HaulierError, SourceDown

__all__ = ["Refusal"]


class Refusal(NamedTuple):
    """Why a source refuses downloads: it is down, or its engine is closed. ``reason`` is text for people."""

    kind: Literal["down", "closed"]
    reason: str

    def error(self, source: str) -> HaulierError:
        """Make the exception that ``dispatch`` raises for ``source``."""
        if self.kind == "closed":
            return EngineClosed(self.reason)
        return SourceDown(f"source {source!r} is down ({self.reason}); fix the cause, then call revive({source!r})")
