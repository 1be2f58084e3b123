"""Draw the live table: a line for each source, a bar for each running download, and the totals.

All functions here are pure: they get a board and return lines.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from rich.cells import cell_len

from haulier._cli.display.board import RANK, Bar, Board, SourceLine
from haulier._cli.display.text import Line, Lines, bytes_text, clock_text, columns, counted, widest

__all__ = ["bar_lines", "draw"]

WIDE: Final = 72
"""From this width on, in columns, there is a bar beside the numbers."""
MIDDLE: Final = 56
"""Below this width, in columns, the bytes are not shown."""
NARROW_BAR: Final = 46
"""Below this width, in columns, the speed is not shown."""
SLIM_BAR: Final = 26
"""Below this width, in columns, the remaining time is not shown."""

_LONGEST_S: Final = 100 * 3600
"""From this time on, the remaining time is shown in days."""


def bar_lines(bars: tuple[Bar, ...], running: int, rows: int, width: int, beat: int) -> list[Line]:
    """Draw the bars in at most ``rows`` lines of ``width`` columns.

    ``running`` is the number of running downloads, including those without a bar. ``beat`` increases from frame to
    frame; it moves the bar of a download whose size is unknown.
    """
    most = rows - 1 if running > rows > 1 else rows
    shown = bars[:most]
    amounts = [_amount(bar) if width >= MIDDLE else "" for bar in shown]
    speeds = [f"{bytes_text(bar.speed)}/s" if bar.speed and width >= NARROW_BAR else "" for bar in shown]
    times = [left_text(bar.remaining_s) if width >= SLIM_BAR else "" for bar in shown]
    # At least as wide as the usual text, so that the columns do not move from frame to frame.
    numbers = [
        4,
        widest(amounts, 13) if width >= MIDDLE else 0,
        widest(speeds, 10) if width >= NARROW_BAR else 0,
        widest(times, 5) if width >= SLIM_BAR else 0,
    ]
    room = max(1, width - sum(each + 1 for each in numbers if each))
    long = (room - 1) * 2 // 5 if width >= WIDE else 0
    name = room - (long + 1 if long else 0)
    lines = []
    for bar, amount, speed, time in zip(shown, amounts, speeds, times, strict=True):
        share = min(1.0, bar.transferred / bar.size) if bar.size > 0 else None
        line = columns([(bar.name, name, "")], left=1)
        if long:
            line += [(" ", ""), *_drawn(share, long, beat)]
        percent = "" if share is None else f"{int(100 * share)}%"
        cells = ((percent, "cyan"), (amount, "dim"), (speed, ""), (time, ""))
        line += [
            (" ", ""),
            *columns([(text, wide, style) for (text, style), wide in zip(cells, numbers, strict=True)], left=0),
        ]
        lines.append(line)
    if running > len(shown) and rows > 1:
        lines.append(columns([(f"… {running - len(shown):,} more running", width, "dim")], left=1))
    return lines


def left_text(seconds: float | None) -> str:
    """The remaining time: ``0:07``, ``3:02:10``, ``5 d``; '' if it is unknown."""
    if seconds is None:
        return ""
    return clock_text(seconds) if seconds < _LONGEST_S else f"{min(9999, int(seconds / 86400))} d"


def _drawn(share: float | None, width: int, beat: int) -> Line:
    """Draw one bar. Its two parts differ in their signs too, for terminals without colours."""
    if share is None:
        at = beat % max(1, width - 2)
        return [("─" * at, "dim"), ("━" * min(3, width), "cyan"), ("─" * (width - at - 3), "dim")]
    halves = int(share * width * 2)
    full, half = divmod(halves, 2)
    return [("━" * full + "╸" * half, "green" if share == 1 else "cyan"), ("─" * (width - full - half), "dim")]


def _amount(bar: Bar) -> str:
    """``1.2/34.5 MB``: the unit is written once if both numbers have the same."""
    here, of = bytes_text(bar.transferred), bytes_text(bar.size)
    if not bar.size:
        return here
    number, unit = here.split()
    return f"{number}/{of}" if of.endswith(f" {unit}") else f"{here}/{of}"


ROOMY: Final = 10
"""From this height on, in lines, there are headings and blank lines."""
NARROW: Final = 52
"""Below this width, in columns, a source has one number in place of three."""
SLIM: Final = 26
"""Below this width, in columns, the state of a source is only a sign."""

_LOOKS: Final = {
    "running": ("●", "green"),
    "delay": ("◷", "cyan"),
    "suspended": ("◷", "yellow"),
    "back-off": ("↻", "yellow"),
    "restart": ("↻", "magenta"),
    "down": ("✗", "red"),
    "paused": ("‖", "blue"),
    "ended": ("✓", "dim"),
}
"""The sign and the colour of each kind of state."""

_GROUPS: Final = {
    "running": "running", "delay": "waiting", "suspended": "waiting", "back-off": "waiting", "restart": "waiting",
    "down": "down", "paused": "to come", "ended": "ended",
}  # fmt: skip
"""How each kind is called in the count of the sources that are not shown."""


def draw(board: Board, width: int, height: int) -> Lines:
    """Draw the table in at most ``height`` lines of ``width`` columns.

    Sources and bars that do not fit are counted. The totals are the last line.
    """
    source_rows, bar_rows, roomy = _layout(height, len(board.sources), board.running)
    lines = _source_lines(board, source_rows, width, heading=roomy) if source_rows else []
    if bar_rows:
        lines += [[]] if roomy else []
        lines += bar_lines(board.bars, board.running, bar_rows, width, int(board.elapsed_s * 8))
    lines += [[]] if roomy else []
    return Lines([*lines, _totals(board, width)])


def _layout(height: int, sources: int, bars: int) -> tuple[int, int, bool]:
    """How many lines the sources and the bars get, and whether there are headings and blank lines."""
    roomy = height >= ROOMY
    room = max(0, height - 1 - ((3 if bars else 2) if roomy else 0))
    if sources + bars <= room:
        return sources, bars, roomy
    bar_rows = min(bars, max((room + 1) // 2, room - sources))
    return min(sources, room - bar_rows), bar_rows, roomy


def _source_lines(board: Board, rows: int, width: int, *, heading: bool) -> list[Line]:
    sources = board.sources
    if len(sources) > rows:
        most = max(1, rows - 1)
        sources = tuple(sorted(sources, key=lambda line: RANK[line.kind]))
        shown, hidden = sources[:most], sources[most:]
    else:
        shown, hidden = sources, ()
    rows_of_numbers = [_numbers(line.queued, line.done, line.failed, width) for line in shown]
    if hidden and rows > 1:
        queued, done, failed = (sum(getattr(line, key) for line in hidden) for key in ("queued", "done", "failed"))
        rows_of_numbers.append(_numbers(queued, done, failed, width))
    heads = ["queued", "done", "failed"] if width >= NARROW else ["done"]
    wide = [widest([numbers[i] for numbers in rows_of_numbers], len(head)) for i, head in enumerate(heads)]
    room = max(1, width - sum(each + 1 for each in wide))
    state = 0 if width < SLIM else room * 2 // 5
    name = room - (state + 1 if state else 0)
    lines = []
    if heading:
        cells = zip(["source", "", *heads], [name, state, *wide], strict=True)
        lines.append(columns([(head, each, "dim") for head, each in cells], left=2))
    for line, numbers in zip(shown, rows_of_numbers, strict=False):
        sign, style = _LOOKS[line.kind]
        looks = ["", "green" if line.done else "", "red" if line.failed else ""]
        if width < NARROW:
            looks = ["red" if line.failed else ""]
        named = [(line.name, name - 2, "dim" if line.kind == "ended" else ""), (line.text, state, style)]
        lines.append([(f"{sign} ", style), *columns([*named, *zip(numbers, wide, looks, strict=True)], left=2)])
    if hidden and rows > 1:
        text = f"… and {counted(len(hidden), 'more source')}: {_counts(hidden)}"
        rest = [(each, size, "dim") for each, size in zip(rows_of_numbers[-1], wide, strict=True)]
        lines.append(columns([(text, room, "dim"), *rest], left=1))
    return lines


def _numbers(queued: int, done: int, failed: int, width: int) -> list[str]:
    if width >= NARROW:
        return [f"{queued:,}", f"{done:,}", f"{failed:,}"]
    return [f"{done:,}" + (f" ✗{failed:,}" if failed else "")]


def _counts(hidden: tuple[SourceLine, ...]) -> str:
    """``3 running, 12 waiting, 400 ended``."""
    counts = Counter(_GROUPS[line.kind] for line in hidden)
    return ", ".join(f"{counts[group]:,} {group}" for group in dict.fromkeys(_GROUPS.values()) if counts[group])


def _totals(board: Board, width: int) -> Line:
    """The last line. If it is too long, the bytes are left out first; the number of ended downloads always stays."""
    ended = board.done + board.failed
    parts = {
        "ended": (f"{ended:,} of {board.total:,} ended", "bold"),
        "failed": (f"{board.failed:,} failed" if board.failed else "", "red"),
        "running": (f"{board.running:,} running" if board.running else "", ""),
        "bytes": (bytes_text(board.transferred), ""),
        "speed": (f"{bytes_text(board.speed)}/s" if board.speed else "", ""),
        "elapsed": (clock_text(board.elapsed_s), "dim"),
    }
    kept = {key: part for key, part in parts.items() if part[0]}
    between = "  ·  " if width >= NARROW else " · "
    for key in ("bytes", "elapsed", "running", "speed", "failed"):
        if sum(cell_len(text) for text, _ in kept.values()) + len(between) * (len(kept) - 1) > width:
            kept.pop(key, None)
    line: Line = []
    for text, style in kept.values():
        line += [(between, "")] if line else []
        line.append((text, style))
    return line if len(kept) > 1 else columns([(*line[0][:1], width, line[0][1])], left=1)
