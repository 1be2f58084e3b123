"""The life of a download: one table of phases, events and next phases. A move that is not in the table is ignored."""

from __future__ import annotations

from typing import Final

from haulier.records import Phase

__all__ = ["TABLE", "next_phase"]

TABLE: Final[dict[str, dict[str, str]]] = {
    Phase.QUEUED: {
        "take": Phase.RUNNING,  # a slot took it from the queue
        "cancel": Phase.CANCELLED,  # a caller cancelled it
        "fail": Phase.FAILED,  # its source went down or dropped it, or the engine closed
    },
    Phase.RUNNING: {
        "succeed": Phase.SUCCEEDED,
        "fail": Phase.FAILED,  # the impl failed, crashed, or was given up on
        "back_off": Phase.BACKING_OFF,  # the attempt failed, and another one follows
        "put_back": Phase.QUEUED,  # the source asked for a suspension: no attempt is spent
        "take_back": Phase.QUEUED,  # its start could not be written: its impl was not called
        "cancel": Phase.CANCELLED,  # a caller cancelled it, or its impl noticed that it should stop
    },
    Phase.BACKING_OFF: {
        "take": Phase.RUNNING,  # its back-off is over, and a slot took it
        "cancel": Phase.CANCELLED,  # a caller cancelled it
        "fail": Phase.FAILED,  # its source went down, or the engine closed
    },
    Phase.SUCCEEDED: {},
    Phase.FAILED: {},
    Phase.CANCELLED: {},
}


def next_phase(phase: str, event: str) -> str | None:
    """The phase that follows ``event`` in ``phase``; None if the table has no such move."""
    return TABLE[phase].get(event)
