"""The time-outs of one attempt: how long it may take in all, and how long without progress."""

from __future__ import annotations

from math import inf
from typing import Any

from haulier.policies import SourcePolicy
from haulier.transfer import Transfer

__all__ = ["begin", "is_guarded", "next_look", "overdue", "progress_of"]


def is_guarded(policy: SourcePolicy) -> bool:
    """Whether ``policy`` sets any time-out, so that the supervisor has to look at running attempts."""
    return policy.timeout is not None or policy.stall_timeout is not None


def begin(transfer: Transfer, policy: SourcePolicy, now: float) -> float:
    """Start the clocks of an attempt at ``now`` (monotonic). Returns when to look at it."""
    transfer.moved, transfer.moved_at = progress_of(transfer), now
    if policy.timeout is not None:
        transfer.deadline = now + policy.timeout
    return next_look(transfer, policy, now)


def overdue(transfer: Transfer, policy: SourcePolicy, now: float) -> str | float:
    """Whether a running attempt took too long: the reason, or the monotonic second at which to look again.

    An attempt whose bytes are all here (100 percent) cannot stall: a checksum or a conversion moves no bytes.
    """
    if transfer.deadline is not None and now >= transfer.deadline:
        return f"timed out after {transfer.deadline - transfer.started_at:g} s"
    stall = policy.stall_timeout
    moved = progress_of(transfer)
    if moved != transfer.moved:
        transfer.moved, transfer.moved_at = moved, now
    elif stall is not None and moved[1] != 100.0 and now - transfer.moved_at >= stall:
        return f"stalled: no progress for {stall:g} s"
    return next_look(transfer, policy, now)


def next_look(transfer: Transfer, policy: SourcePolicy, now: float) -> float:
    """When to look at an attempt next: often enough to see a stall within a quarter of its time."""
    stall = policy.stall_timeout
    return min(transfer.deadline or inf, inf if stall is None else now + stall / 4)


def progress_of(transfer: Transfer) -> tuple[Any, Any]:
    """What shows progress: the bytes that have arrived, and the percentage."""
    return transfer.cell.get("transferred"), transfer.cell.get("progress")
