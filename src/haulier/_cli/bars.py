"""The bars of the live table: a line for each running download."""

from __future__ import annotations

from typing import Final

from haulier._cli.board import Bar
from haulier._cli.cells import Line, columns, widest
from haulier._cli.words import bytes_text, clock_text

__all__ = ["bar_lines"]

WIDE: Final = 72
"""Columns from which on there is room for a bar beside the numbers."""
MIDDLE: Final = 56
"""Columns below which the bytes are not shown."""
NARROW: Final = 46
"""Columns below which the speed is not shown."""
SLIM: Final = 26
"""Columns below which the time that is left is not shown."""

_LONGEST_S: Final = 100 * 3600
"""From here on hours and minutes say nothing."""


def bar_lines(bars: tuple[Bar, ...], running: int, rows: int, width: int, beat: int) -> list[Line]:
    """At most ``rows`` lines of ``width`` columns; ``running``: how many run, also those that are not in ``bars``.

    ``beat`` counts on from frame to frame: a bar whose size nobody knows moves with it.
    """
    most = rows - 1 if running > rows > 1 else rows
    shown = bars[:most]
    amounts = [_amount(bar) if width >= MIDDLE else "" for bar in shown]
    speeds = [f"{bytes_text(bar.speed)}/s" if bar.speed and width >= NARROW else "" for bar in shown]
    times = [left_text(bar.remaining_s) if width >= SLIM else "" for bar in shown]
    # Not narrower than what usually comes, so that the columns stand still.
    numbers = [
        4,
        widest(amounts, 13) if width >= MIDDLE else 0,
        widest(speeds, 10) if width >= NARROW else 0,
        widest(times, 5) if width >= SLIM else 0,
    ]
    room = max(1, width - sum(each + 1 for each in numbers if each))
    long = (room - 1) * 2 // 5 if width >= WIDE else 0
    name = room - (long + 1 if long else 0)
    lines = []
    for bar, amount, speed, time in zip(shown, amounts, speeds, times, strict=True):
        share = min(1.0, bar.transferred / bar.size) if bar.size > 0 else None
        told = columns([(bar.name, name, "")], left=1)
        if long:
            told += [(" ", ""), *_drawn(share, long, beat)]
        percent = "" if share is None else f"{int(100 * share)}%"
        cells = ((percent, "cyan"), (amount, "dim"), (speed, ""), (time, ""))
        told += [
            (" ", ""),
            *columns([(text, wide, style) for (text, style), wide in zip(cells, numbers, strict=True)], left=0),
        ]
        lines.append(told)
    if running > len(shown) and rows > 1:
        lines.append(columns([(f"… {running - len(shown):,} more running", width, "dim")], left=1))
    return lines


def left_text(seconds: float | None) -> str:
    """``0:07``, ``3:02:10``, ``5 d``: the time that is left, as long as it can be told."""
    if seconds is None:
        return ""
    return clock_text(seconds) if seconds < _LONGEST_S else f"{min(9999, int(seconds / 86400))} d"


def _drawn(share: float | None, width: int, beat: int) -> Line:
    """The bar itself. What is done can be told from what is not without a colour, too."""
    if share is None:
        at = beat % max(1, width - 2)
        return [("─" * at, "dim"), ("━" * min(3, width), "cyan"), ("─" * (width - at - 3), "dim")]
    halves = int(share * width * 2)
    full, half = divmod(halves, 2)
    return [("━" * full + "╸" * half, "green" if share == 1 else "cyan"), ("─" * (width - full - half), "dim")]


def _amount(bar: Bar) -> str:
    """``1.2/34.5 MB``, the unit once where it is the same."""
    here, of = bytes_text(bar.transferred), bytes_text(bar.size)
    if not bar.size:
        return here
    number, unit = here.split()
    return f"{number}/{of}" if of.endswith(f" {unit}") else f"{here}/{of}"
