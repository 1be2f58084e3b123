"""A picture of the live table at the moment when it shows most."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from haulier._cli.display.board import Board
from haulier._cli.display.table import draw

__all__ = ["Photographer"]

WIDTH: Final = 88
HEIGHT: Final = 40

_THEME: Final = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34),
     (88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)],
)  # fmt: skip


class Photographer:
    """Keeps the board that shows most, and draws it."""

    def __init__(self) -> None:
        self._best: tuple[float, Board] | None = None

    def look(self, board: Board) -> None:
        """Keep ``board`` if it shows more than the best one so far."""
        score = _liveliness(board)
        if self._best is None or score > self._best[0]:
            self._best = score, board

    def save(self, path: Path, title: str) -> None:
        """Write the picture as SVG. It refers to no other file, so a browser fetches nothing.

        Raises ``OSError`` if ``path`` cannot be written.
        """
        assert self._best is not None
        console = Console(
            record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor", no_color=False
        )
        console.print(draw(self._best[1], WIDTH, HEIGHT))
        svg = console.export_svg(title=title, theme=_THEME, unique_id="haulier")
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


def _liveliness(board: Board) -> float:
    """Score a board: more states of sources, more half-full bars and more ended downloads score higher."""
    states = len({line.kind for line in board.sources if line.kind != "ended"})
    halfway = sum(0.15 < bar.transferred / bar.size < 0.9 for bar in board.bars if bar.size)
    timed = sum(bar.remaining_s is not None for bar in board.bars)
    return 4 * states + halfway + timed / 2 + min(board.done, 10) / 5 + min(board.failed, 1)
