"""How a run is shown: as lines, as a live table, or not at all."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from haulier._cli.board import Board
from haulier._cli.cells import plain
from haulier._cli.news import News
from haulier._cli.outlet import Outlet
from haulier._cli.table import draw

__all__ = ["Lines", "LiveTable", "Silence", "View", "view_for"]

_STYLES: Final = {"failed": "red", "again": "yellow", "waits": "yellow", "stops": "bold"}
"""The news that are worth a line above the live table."""


_MOST_KEPT: Final = 100
"""Lines that are written again where the terminal had to be cleared."""


class View(Protocol):
    """Entered before the first download, left after the last."""

    def __enter__(self) -> View: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def tell(self, news: News) -> None:
        """Something happened. On the subscriber's thread."""

    def frame(self, take: Callable[[], Board]) -> None:
        """Time passes: ``take()`` gives the board of this moment, where it is wanted. Several times a second."""


class Silence:
    """Nothing."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None: ...

    def tell(self, news: News) -> None:
        """Keep it."""

    def frame(self, take: Callable[[], Board]) -> None:
        """Show nothing."""


class Lines(Silence):
    """A line for each piece of news: for files, pipes and logs."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def tell(self, news: News) -> None:
        """Write the line."""
        self._outlet.line(plain(str(news)))


class LiveTable:
    """The live table; what goes wrong is told above it, and stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._size = console.size
        self._untold: deque[Text] = deque()
        self._told: deque[Text] = deque(maxlen=_MOST_KEPT)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tell_all()
        self._live.stop()

    def tell(self, news: News) -> None:
        """Keep a line for the next frame: whoever has the news is not to wait for a terminal."""
        style = _STYLES.get(news.kind)
        if style is not None:
            self._untold.append(Text.assemble((f"{news.kind:<7}", style), " ", plain(news.text)))

    def _tell_all(self) -> None:
        """Write what is untold above the table, in one go: the table is drawn anew each time."""
        lines = [self._untold.popleft() for _ in range(len(self._untold))]
        self._told.extend(lines)
        if lines:
            self._console.print(Text("\n").join(lines))

    def frame(self, take: Callable[[], Board]) -> None:
        """Draw the table anew, in what is now the size of the terminal."""
        size = self._console.size
        if size != self._size:
            self._size = size
            self._console.clear()  # the terminal has broken the old table's lines: there is no way back over them
            self._untold.extendleft(reversed(self._told))
            self._told.clear()
        self._tell_all()
        self._live.update(draw(take(), size.width, size.height - 1), refresh=True)


def view_for(outlet: Outlet, *, quiet: bool, verbose: int) -> View:
    """The view that suits standard output, with the engine's log beside it where ``verbose`` asks for it."""
    console = Console(file=outlet)  # type: ignore[arg-type]  # all of a file that rich uses
    live = not quiet and outlet.isatty() and not console.is_dumb_terminal
    if verbose:
        on_screen = RichHandler(console=console, show_path=False, markup=False, highlighter=None)
        handler = on_screen if live else logging.StreamHandler()
        if not live:
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
        logging.basicConfig(level=logging.INFO if verbose == 1 else logging.DEBUG, handlers=[handler])
    if quiet:
        return Silence()
    return LiveTable(console) if live else Lines(outlet)
