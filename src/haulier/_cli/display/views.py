"""How a run is shown: as lines, as a live table, or not at all."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import PurePath
from time import time
from typing import Final, NamedTuple, Protocol

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from haulier._cli.display.board import Board
from haulier._cli.display.table import draw
from haulier._cli.display.tally import CLOSED
from haulier._cli.display.text import bytes_text, plain, span_text
from haulier._cli.outlet import Outlet
from haulier.events import Changed
from haulier.records import Phase, Record

__all__ = ["Lines", "LiveTable", "News", "Silence", "View", "news_of", "view_for"]


class News(NamedTuple):
    """One line. ``kind`` is its first word: start, done, here, why, again, waits, failed or stops."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind:<7} {self.text}"


def news_of(event: Changed, *, put_back: bool) -> News | None:
    """The line on an event, None for one that is no news.

    ``put_back``: whether the event is a download's return to its queue, since its source asked for a pause.
    """
    record, shown = event.record, event.record["shown"]
    if put_back:
        pause_s = record.get("next_attempt_at", 0.0) - time()
        return News("waits", f"{event.source}: the server asks for a pause, {span_text(pause_s)} to go")
    if event.phase == Phase.RUNNING:
        again = f" (attempt {record['attempt']})" if record["attempt"] > 1 else ""
        return News("start", f"{shown}{again}")
    if event.phase == Phase.SUCCEEDED:
        if record.get("already_there"):
            return News("here", f"{shown} -> {PurePath(record['file_path']).name}, already there")
        return News("done", f"{shown} -> {_landed(record)}")
    if event.phase == Phase.BACKING_OFF:
        in_s = record.get("next_attempt_at", 0.0) - time()
        return News("again", f"{shown}: {record.get('error')}; next attempt in {span_text(in_s)}")
    if event.phase in (Phase.FAILED, Phase.CANCELLED) and record["error_type"] != CLOSED:
        return News("failed", f"{shown}: {record.get('error') or 'cancelled'}")
    return None


def _landed(record: Record) -> str:
    took_s = record["finished_at"] - record["started_at"]
    return f"{PurePath(record['file_path']).name}, {bytes_text(record['transferred'])} in {span_text(took_s)}"


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
        """Keep a line for the next frame, so that the thread that has it does not wait for the terminal."""
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
