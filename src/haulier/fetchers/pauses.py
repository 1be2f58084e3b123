"""Give up on a download for which its host asks for a pause again and again."""

from __future__ import annotations

from typing import Final

from haulier.errors import PermanentError, Throttled
from haulier.fetchers.hosts import HostBusy
from haulier.transfer import Transfer

__all__ = ["MOST_PAUSES", "forget_pauses", "pause_or_no"]

PAUSES: Final = "pauses"
"""The record's key for how often in a row the host has asked for a pause."""

MOST_PAUSES: Final = 20
"""After so many pauses in a row for one download, the next one is a final refusal."""


def pause_or_no(transfer: Transfer, refusal: Throttled | HostBusy) -> Exception:
    """Count a pause that the host asked for. Returns ``refusal``, or ``PermanentError`` after too many in a row.

    A ``HostBusy`` without a refusal by the host is not counted.
    """
    if isinstance(refusal, HostBusy) and not refusal.is_refusal:
        return refusal
    pauses = transfer.cell.get(PAUSES, 0) + 1
    transfer.cell[PAUSES] = pauses
    if pauses <= MOST_PAUSES:
        return refusal
    return PermanentError(f"{refusal}; it has asked for a pause {MOST_PAUSES} times")


def forget_pauses(transfer: Transfer) -> None:
    """Start the count anew: the host has answered something else."""
    transfer.cell.pop(PAUSES, None)
