"""Format numbers for people, and fit text into cells of a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

__all__ = ["Line", "Lines", "bytes_text", "clock_text", "columns", "counted", "fitted", "plain", "span_text", "widest"]

_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")


def bytes_text(count: float) -> str:
    """``999 B``, ``1.2 kB``, ``34.5 MB``. The units are powers of 1,000."""
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
    """``0.4 s``, ``12.0 s``; from 90 seconds on ``1:30``, ``2:05``."""
    return f"{max(0.0, seconds):.1f} s" if seconds < 90 else clock_text(seconds)


def counted(count: int, noun: str) -> str:
    """``1 download``, ``1,200 downloads``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text, each with its style. The style '' means none."""

_SHOWN: Final = {"Cc": "\N{REPLACEMENT CHARACTER}", "Cs": "\N{REPLACEMENT CHARACTER}", "Zl": " ", "Zp": " ", "Cf": ""}
"""By Unicode category: what replaces the characters that control the terminal or the direction of text."""

_JOINERS: Final = "\u200c\u200d"
_MODIFIERS: Final = dict.fromkeys(
    (0x200C, 0x200D, *range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400), *range(0xE0100, 0xE01F0))
)
"""Joiners, variation selectors and skin tones. Cells have none: terminals disagree about the width that they cause."""

_ASCII: Final = str.maketrans("●◷↻✗‖✓━╸─…·", "*~rx=.#>-.-")


class Lines:
    """Finished lines for rich to print without measuring or wrapping them."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines, in ASCII if the terminal supports nothing else."""
        for line in self._lines:
            for text, style in line:
                shown = text.translate(_ASCII) if options.ascii_only else text
                yield Segment(shown, _style(style) if style else None)
            yield Segment.line()


@lru_cache(maxsize=64)
def _style(style: str) -> Style:
    return Style.parse(style)


def plain(text: str) -> str:
    """Make ``text`` one line without control characters. The joiners that some scripts and emoji need stay."""
    return text if text.isascii() and text.isprintable() else _plain(text)


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    return "".join(
        each if each in _JOINERS else _SHOWN.get(unicodedata.category(each), each)
        for each in unicodedata.normalize("NFC", text)
    )


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Fit ``text`` into exactly ``width`` cells: fill it with spaces, or cut it with an ellipsis."""
    text = plain(text) if text.isascii() else plain(text).translate(_MODIFIERS)
    cells = cell_len(text)
    if cells > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    room = " " * (width - cells)
    return room + text if right else text + room


def widest(texts: Sequence[str], at_least: int = 0) -> int:
    """The width of the widest of ``texts`` in cells, at least ``at_least``."""
    return max(at_least, *map(cell_len, texts)) if texts else at_least


def columns(cells: Sequence[tuple[str, int, str]], *, left: int) -> Line:
    """Make a line of cells, each a tuple of text, width and style, with a space between them.

    The first ``left`` cells are aligned to the left, the others to the right. A cell of width 0 is left out.
    """
    line: Line = []
    for number, (text, width, style) in enumerate(cells):
        if width > 0:
            line += [(" ", "")] if line else []
            line.append((fitted(text, width, right=number >= left), style))
    return line
