"""How often a host may ask for a pause before that means no."""

from __future__ import annotations

from typing import Final

from haulier.errors import PermanentError, Throttled
from haulier.transfer import Transfer

__all__ = ["MOST_PAUSES", "forget_pauses", "pause_or_no"]

PAUSES: Final = "pauses"
"""The record's key for how often in a row the host has asked for a pause."""

MOST_PAUSES: Final = 20
"""A host that asks for a pause so often in a row for one download means no."""


def pause_or_no(transfer: Transfer, throttled: Throttled) -> Exception:
    """``throttled`` itself, counted; or what is to be raised in its place, when it has been enough."""
    pauses = transfer.cell.get(PAUSES, 0) + 1
    transfer.cell[PAUSES] = pauses
    if pauses <= MOST_PAUSES:
        return throttled
    return PermanentError(f"{throttled}; it has asked for a pause {MOST_PAUSES} times")


def forget_pauses(transfer: Transfer) -> None:
    """The host has answered something else."""
    transfer.cell.pop(PAUSES, None)
