"""The words of a record: its keys, its states and its phases.

A record is a flat ``dict[str, Any]`` that belongs to the record store. Callers get copies.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

__all__ = [
    "FIRST_KEYS",
    "OPEN_PHASES",
    "STATE_OF_PHASE",
    "TERMINAL_PHASES",
    "TERMINAL_STATES",
    "WAITING_PHASES",
    "Phase",
    "Record",
    "State",
    "first_record",
]

Record: TypeAlias = dict[str, Any]


class State:
    """What ``record['state']`` says. A plugin may write others; these are the ones that haulier writes."""

    INITIALIZING: Final = "Initializing"
    """Not running: waits in its source's queue, or backs off before its next attempt."""
    IN_PROGRESS: Final = "InProgress, Downloading"
    """Moved there by the slot that took it. After a crash of its source: ``Errored``."""
    SUCCEEDED: Final = "Completed, Succeeded"
    """Moved there by the slot. Terminal."""
    ERRORED: Final = "Errored"
    """Moved there by the slot (the impl failed), the supervisor (crash, time-out, source down) or close(). Terminal."""
    CANCELLED: Final = "Cancelled"
    """Moved there by whoever cancels. Terminal, and wins against whatever lands later."""


class Phase:
    """What ``record['phase']`` says: one word for a program to test, where ``state`` is for people."""

    QUEUED: Final = "queued"
    RUNNING: Final = "running"
    BACKING_OFF: Final = "backing_off"
    SUCCEEDED: Final = "succeeded"
    FAILED: Final = "failed"
    CANCELLED: Final = "cancelled"


WAITING_PHASES: Final = frozenset({Phase.QUEUED, Phase.BACKING_OFF})
TERMINAL_PHASES: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})
OPEN_PHASES: Final = frozenset({Phase.QUEUED, Phase.RUNNING, Phase.BACKING_OFF})
TERMINAL_STATES: Final = frozenset({State.SUCCEEDED, State.ERRORED, State.CANCELLED})

STATE_OF_PHASE: Final = {
    Phase.QUEUED: State.INITIALIZING,
    Phase.RUNNING: State.IN_PROGRESS,
    Phase.BACKING_OFF: State.INITIALIZING,
    Phase.SUCCEEDED: State.SUCCEEDED,
    Phase.FAILED: State.ERRORED,
    Phase.CANCELLED: State.CANCELLED,
}


def first_record(download_id: str, source: str, filename: str, username: str, queued_at: float) -> Record:
    """The record of a download that was just dispatched. ``queued_at`` is in UTC seconds since the epoch."""
    return {
        "id": download_id,
        "filename": filename,
        "username": username,
        "state": State.INITIALIZING,
        "progress": 0.0,
        "size": 0,
        "transferred": 0,
        "speed": 0,
        "time_remaining": None,
        "file_path": None,
        "source": source,
        "phase": Phase.QUEUED,
        "attempt": 0,
        "queued_at": queued_at,
        "started_at": None,
        "finished_at": None,
        "error_type": None,
        "reason": None,
    }


FIRST_KEYS: Final = frozenset(first_record("", "", "", "", 0.0))
"""The keys that every dispatched record has."""
