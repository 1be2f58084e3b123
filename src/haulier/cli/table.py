"""The live table: a line for each source, a bar for each running download, the totals. It knows no engine."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from haulier.cli.board import Bar, Board, SourceLine
from haulier.cli.words import bytes_text, clock_text, counted

__all__ = ["draw"]

WIDE: Final = 72
"""Columns from which on there is room for a bar beside the numbers."""
NARROW: Final = 52
"""Columns below which only name and percent are shown."""

_LOOKS: Final = {
    "running": ("●", "green"),
    "delay": ("◷", "cyan"),
    "suspended": ("◷", "yellow"),
    "back-off": ("↻", "yellow"),
    "restart": ("↻", "magenta"),
    "down": ("✗", "red"),
    "paused": ("‖", "blue"),
    "over": ("✓", "dim"),
}
"""The sign and the colour of each kind of state; where not all sources have room, the first kinds have it first."""

_RANK: Final = {kind: rank for rank, kind in enumerate(_LOOKS)}


def draw(board: Board, width: int, height: int) -> RenderableType:
    """The table in at most ``height`` lines of ``width`` columns; what has no room is counted."""
    room = max(2, height - 6)
    most_sources = max(1, min(len(board.sources), room - min(len(board.bars), room // 2)))
    most_bars = max(1, room - most_sources)
    return Group(
        _sources(board.sources, most_sources, width),
        Text(),
        _bars(board.bars, most_bars, width),
        *([Text()] if board.bars else []),
        _totals(board, width),
    )


def _sources(lines: tuple[SourceLine, ...], most: int, width: int) -> Table:
    table = Table(
        Column("host", ratio=3, no_wrap=True, overflow="ellipsis"),
        Column("", ratio=2, no_wrap=True, overflow="ellipsis"),
        Column("queued", justify="right", no_wrap=True),
        Column("done", justify="right", no_wrap=True),
        Column("failed", justify="right", no_wrap=True),
        box=None, expand=True, padding=(0, 1, 0, 0), width=width, header_style="dim",
    )  # fmt: skip
    if len(lines) > most:
        lines = tuple(sorted(lines, key=lambda line: _RANK[line.kind]))
    for line in lines[:most]:
        sign, style = _LOOKS[line.kind]
        table.add_row(
            Text.assemble((sign, style), " ", (line.name, "dim" if line.kind == "over" else "")),
            Text(line.text, style=style),
            Text(f"{line.queued:,}"),
            Text(f"{line.done:,}", style="green" if line.done else ""),
            Text(f"{line.failed:,}", style="red" if line.failed else ""),
        )
    if len(lines) > most:
        hidden = lines[most:]
        table.add_row(
            Text(f"  … {counted(len(hidden), 'more host')}", style="dim"),
            "",
            Text(f"{sum(line.queued for line in hidden):,}"),
            Text(f"{sum(line.done for line in hidden):,}"),
            Text(f"{sum(line.failed for line in hidden):,}"),
        )
    return table


def _bars(bars: tuple[Bar, ...], most: int, width: int) -> Table:
    columns = [Column(ratio=3, no_wrap=True, overflow="ellipsis")]
    if width >= WIDE:
        columns.append(Column(ratio=2))
    columns.append(Column(justify="right", no_wrap=True, width=4))
    if width >= NARROW:
        columns.append(Column(justify="right", no_wrap=True, width=17))
        columns.append(Column(justify="right", no_wrap=True, width=10))
        columns.append(Column(justify="right", no_wrap=True, width=5))
    table = Table(*columns, box=None, expand=True, padding=(0, 1, 0, 0), width=width, show_header=False)
    for bar in bars[:most]:
        table.add_row(*_cells(bar, width))
    if len(bars) > most:
        table.add_row(Text(f"… {len(bars) - most:,} more running", style="dim"))
    return table


def _cells(bar: Bar, width: int) -> list[RenderableType]:
    known = bar.size > 0
    share = min(1.0, bar.transferred / bar.size) if known else 0.0
    cells: list[RenderableType] = [Text(bar.name)]
    if width >= WIDE:
        cells.append(ProgressBar(total=bar.size or None, completed=bar.transferred, complete_style="cyan"))
    cells.append(Text(f"{share:.0%}" if known else "", style="cyan"))
    if width >= NARROW:
        cells.append(Text(_amount(bar), style="dim"))
        cells.append(Text(f"{bytes_text(bar.speed)}/s" if bar.speed else ""))
        cells.append(Text(clock_text(bar.remaining_s) if bar.remaining_s is not None else ""))
    return cells


def _amount(bar: Bar) -> str:
    """``1.2 / 34.5 MB``, the unit once where it is the same."""
    here, of = bytes_text(bar.transferred), bytes_text(bar.size)
    if not bar.size:
        return here
    number, unit = here.split()
    return f"{number}/{of}" if of.endswith(f" {unit}") else f"{here}/{of}"


def _totals(board: Board, width: int) -> Text:
    over = board.done + board.failed
    parts = [
        Text(f"{over:,} of {board.total:,} over", style="bold"),
        Text(f"{board.failed:,} failed", style="red") if board.failed else None,
        Text(bytes_text(board.transferred)),
        Text(f"{bytes_text(board.speed)}/s") if board.speed else None,
        Text(clock_text(board.elapsed_s), style="dim"),
    ]
    line = Text("  ·  ").join([part for part in parts if part is not None])
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line
