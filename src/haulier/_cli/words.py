"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

__all__ = ["bytes_text", "clock_text", "counted", "span_text"]

_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")


def bytes_text(count: float) -> str:
    """``999 B``, ``1.2 kB``, ``34.5 MB``: powers of 1,000, as disks and networks are sold."""
    if count < 1000:
        return f"{count:.0f} B"
    power = 1
    while count >= 999_950 and power < len(_UNITS):
        count /= 1000
        power += 1
    return f"{count / 1000:.1f} {_UNITS[power - 1]}"


def clock_text(seconds: float) -> str:
    """``0:07``, ``12:05``, ``3:02:10``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span_text(seconds: float) -> str:
    """``0.4 s``, ``12.0 s``, and from a minute and a half on ``2:05``."""
    return f"{max(0.0, seconds):.1f} s" if seconds < 90 else clock_text(seconds)


def counted(count: int, noun: str) -> str:
    """``1 download``, ``1,200 downloads``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
