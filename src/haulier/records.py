"""Records: their keys, states and phases.

A record is a flat ``dict[str, Any]`` that belongs to the record store. Callers get copies.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias, TypedDict

__all__ = [
    "FIRST_KEYS",
    "OPEN_PHASES",
    "STATE_OF_PHASE",
    "TERMINAL_PHASES",
    "TERMINAL_STATES",
    "WAITING_PHASES",
    "Attempt",
    "Cursor",
    "DownloadRecord",
    "HistoryRow",
    "Phase",
    "Record",
    "State",
    "first_record",
]

Record: TypeAlias = dict[str, Any]
"""A record as every call takes and returns it: the keys of ``DownloadRecord``, and whatever keys callers add."""


class DownloadRecord(TypedDict, total=False):
    """The keys that haulier writes into a record, for type checkers: ``cast(DownloadRecord, engine.get_record(…))``.

    The calls themselves return plain dicts, since a record may hold any further keys. Times are UTC seconds since the
    epoch.
    """

    id: str
    """The id of the download, a UUID4 string of 36 characters."""
    source: str
    """The name of the source."""
    filename: str
    """``original_filename``, as dispatched."""
    username: str
    """``username_override``, or what the policy says, or the name of the source."""
    state: str
    """For people: see ``State``. Plugins may write others."""
    phase: str
    """For programs: see ``Phase``. Absent from records that ``add_record`` made."""
    progress: float
    """Percent, 0 to 100."""
    size: int
    """Bytes; 0 while unknown."""
    transferred: int
    """Bytes that have arrived."""
    speed: float
    """Bytes per second."""
    time_remaining: float | None
    """Seconds; None while unknown, and after the end."""
    file_path: str | None
    """What the impl returned; None before a success."""
    attempt: int
    """Number of the latest attempt, starting at 1; 0 before the first."""
    queued_at: float
    """When it was dispatched."""
    started_at: float | None
    """When the latest attempt started; None before the first."""
    finished_at: float | None
    """When it ended; None before."""
    next_attempt_at: float | None
    """When the next attempt is due; present only between two attempts."""
    error: str | None
    """Why it failed, cut to 4 KiB; absent until an attempt fails, None after a success."""
    error_type: str | None
    """The name of the exception's class; None if there is no error."""
    reason: str | None
    """Why it is not running yet: see ``Explanation.reason``."""


class Attempt(NamedTuple):
    """An attempt that has ended, as ``DownloadEngine.attempts`` gives it. Times are UTC seconds."""

    source: str
    id: str
    """The id of the download."""
    attempt: int
    """Its number, starting at 1."""
    started_on: float | None
    ended_on: float | None
    outcome: str
    """``succeed``, ``fail``, ``back_off``, ``put_back`` or ``cancel``."""
    error: str | None
    error_type: str | None


class Cursor(NamedTuple):
    """A place in the history, for ``history(before=…)``."""

    ended_on: float
    """UTC seconds."""
    seq: int
    """The download's number in the order of dispatch."""


class HistoryRow(NamedTuple):
    """A download that has ended, as ``DownloadEngine.history`` gives it."""

    source: str
    id: str
    seq: int
    """Its number in the order of dispatch."""
    phase: str | None
    ended_on: float
    """UTC seconds."""
    record: Record

    @property
    def cursor(self) -> Cursor:
        """The place of this row: ``history(before=row.cursor)`` returns those that ended before it."""
        return Cursor(self.ended_on, self.seq)


class State:
    """The values of ``record['state']`` that haulier writes. Plugins may write others."""

    INITIALIZING: Final = "Initializing"
    """The download waits: in its source's queue, or for its next attempt. Set by the dispatch, and by the slot after a
    failed attempt that is retried. A crash of the source changes nothing, unless its policy says ``error_queued``."""
    IN_PROGRESS: Final = "InProgress, Downloading"
    """An attempt runs. Set by the slot. If the source crashes meanwhile, the supervisor sets ``Errored``."""
    SUCCEEDED: Final = "Completed, Succeeded"
    """The impl returned a path. Set by the slot. Terminal: no crash changes it."""
    ERRORED: Final = "Errored"
    """The download failed. Terminal. Set by the slot (the impl failed), by the supervisor (crash, time-out, source
    down) or by ``close()``."""
    CANCELLED: Final = "Cancelled"
    """The download was cancelled. Set by the cancel. Terminal: a later result of the impl does not change it."""


class Phase:
    """The values of ``record['phase']``: one word for programs to test. ``state`` is for people."""

    QUEUED: Final = "queued"
    """The download waits in its source's queue. State ``Initializing``."""
    RUNNING: Final = "running"
    """An attempt runs. State ``InProgress, Downloading``."""
    BACKING_OFF: Final = "backing_off"
    """An attempt failed, and the next one starts after a wait. State ``Initializing``."""
    SUCCEEDED: Final = "succeeded"
    """The impl returned a path. State ``Completed, Succeeded``."""
    FAILED: Final = "failed"
    """The download failed and gets no further attempt. State ``Errored``."""
    CANCELLED: Final = "cancelled"
    """The download was cancelled. State ``Cancelled``."""


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
