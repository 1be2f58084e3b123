"""The life of a download: one table of phases, events and next phases. Whatever is not in it does not happen."""

from __future__ import annotations

from typing import Final

from haulier.records import Phase

__all__ = ["TABLE", "next_phase"]

TABLE: Final[dict[str, dict[str, str]]] = {
    Phase.QUEUED: {
        "take": Phase.RUNNING,  # a slot took it from the mailbox
        "cancel": Phase.CANCELLED,
        "fail": Phase.FAILED,  # its source went down, or the engine closed
    },
    Phase.RUNNING: {
        "succeed": Phase.SUCCEEDED,
        "fail": Phase.FAILED,  # the impl failed, crashed, or was given up on
        "back_off": Phase.BACKING_OFF,  # the attempt failed; there will be another one
        "put_back": Phase.QUEUED,  # the source was throttled: no attempt spent
        "cancel": Phase.CANCELLED,
    },
    Phase.BACKING_OFF: {
        "take": Phase.RUNNING,
        "cancel": Phase.CANCELLED,
        "fail": Phase.FAILED,
    },
    Phase.SUCCEEDED: {},
    Phase.FAILED: {},
    Phase.CANCELLED: {},
}


def next_phase(phase: str, event: str) -> str | None:
    """The phase after ``event`` in ``phase``; None where the table has no such move."""
    return TABLE[phase].get(event)
