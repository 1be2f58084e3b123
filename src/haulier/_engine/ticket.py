"""What the engine passes for one download: the ticket while it is queued, and what remains of it after a success.

Both are plain tuples whose fields have names here. CPython's cycle collector stops tracking plain tuples of strings and
numbers, so a million queued downloads add nothing to its work; a ``NamedTuple`` stays tracked for ever. Reading a field
by a constant costs 4 ns more than by a bare number.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeGuard

from haulier.records import Record

__all__ = [
    "DISPLAY_NAME", "FIELDS", "FILENAME", "ID", "IMPL", "QUEUED_AT", "SOURCE", "SUCCESS_ATTEMPT", "SUCCESS_ENDED_ON",
    "SUCCESS_PATH", "SUCCESS_PROGRESS", "SUCCESS_STARTED_ON", "SUCCESS_TICKET", "TARGET_ID", "THREAD_NAME", "USERNAME",
    "Impl", "Success", "Ticket", "dispatch_time", "fields_of", "flat_fields", "is_success", "make_success",
    "make_ticket",
]  # fmt: skip

Impl: TypeAlias = Callable[..., Any]
"""A function that does one download: ``impl(download_id, target_id, display_name) -> path or None``.

It may take a fourth parameter named ``transfer``, or ``transfer`` alone: see ``DownloadEngine.register_source``.
"""

Ticket: TypeAlias = tuple[str, str, Any, str, str, str, Impl | int | None, str | None, tuple[Any, ...] | None, float]
"""One download from its dispatch until it ends. The constants below name the fields.

One tuple is the message to the store, the record until it is read, and the entry in the queue.
"""

ID: Final = 0
"""The id of the download."""
SOURCE: Final = 1
"""The name of its source."""
TARGET_ID: Final = 2
"""What to download: the object that was given to ``dispatch``, untouched."""
DISPLAY_NAME: Final = 3
FILENAME: Final = 4
"""``original_filename`` of ``dispatch``."""
USERNAME: Final = 5
IMPL: Final = 6
"""The impl. An int is its index in ``Mailbox.common``; None means the impl that its source is registered with."""
THREAD_NAME: Final = 7
"""The name of the thread while the impl runs; None keeps the slot's own name."""
FIELDS: Final = 8
"""The caller's extra record fields as a flat tuple ``(*keys, *values)``; None for none."""
QUEUED_AT: Final = 9
"""When it was dispatched, UTC seconds since the epoch."""

dispatch_time: Final = itemgetter(QUEUED_AT)
"""``dispatch_time(ticket)``: the key by which tickets sort in the order of their dispatch."""

Success: TypeAlias = tuple[Ticket, int, float, str, float, Record | None]
"""What the ledger keeps of a download that succeeded at its first attempt. The constants below name the fields."""

SUCCESS_TICKET: Final = 0
SUCCESS_ATTEMPT: Final = 1
"""Number of the attempt, starting at 1."""
SUCCESS_STARTED_ON: Final = 2
"""When the attempt started, UTC seconds."""
SUCCESS_PATH: Final = 3
"""The path that the impl returned."""
SUCCESS_ENDED_ON: Final = 4
"""When the attempt ended, UTC seconds."""
SUCCESS_PROGRESS: Final = 5
"""The last progress that the impl reported, as record keys; None for none."""

_SUCCESS_LENGTH: Final = 6


def make_ticket(
    download_id: str,
    source: str,
    target_id: Any = None,
    display_name: str = "",
    filename: str = "",
    username: str = "",
    impl: Impl | int | None = None,
    thread_name: str | None = None,
    fields: tuple[Any, ...] | None = None,
    queued_at: float = 0.0,
) -> Ticket:
    """Make a ticket. ``fields`` are flat: see ``flat_fields``. ``queued_at`` is in UTC seconds."""
    return (download_id, source, target_id, display_name, filename, username, impl, thread_name, fields, queued_at)


def flat_fields(fields: Record | None) -> tuple[Any, ...] | None:
    """Extra record fields as a ticket holds them: all keys, then all values; None for none."""
    return (*fields, *fields.values()) if fields else None


def fields_of(ticket: Ticket) -> Record | None:
    """The extra record fields of a ticket as a dict; None for none."""
    flat = ticket[FIELDS]
    if flat is None:
        return None
    half = len(flat) // 2
    return dict(zip(flat[:half], flat[half:], strict=True))


def make_success(
    ticket: Ticket, attempt: int, started_on: float, path: str, ended_on: float, progress: Record | None
) -> Success:
    """Make what the ledger keeps of a download that succeeded. An empty ``progress`` is kept as None."""
    return (ticket, attempt, started_on, path, ended_on, progress or None)


def is_success(stored: object) -> TypeGuard[Success]:
    """Whether ``stored`` is a ``Success``. Of the plain tuples that the ledger stores, only a ticket is longer."""
    return type(stored) is tuple and len(stored) == _SUCCESS_LENGTH
