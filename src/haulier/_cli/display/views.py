"""The views of a run: lines, a live table, or nothing."""

from __future__ import annotations

import logging
import os
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

__all__ = ["Lines", "LiveTable", "Notice", "Silence", "View", "notice_of", "view_for"]


class Notice(NamedTuple):
    """One line of output. ``kind`` is its first word: start, done, here, why, again, waits, failed or stops."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind:<7} {self.text}"


def notice_of(event: Changed, *, put_back: bool, folder: str | None = None) -> Notice | None:
    """The line for an event, or None if the event is not shown.

    ``put_back``: whether the source asked for a pause, and the download went back to its queue. ``folder``: the path
    of a file is shown from here; None for its name alone.
    """
    record, shown = event.record, event.record["shown"]
    if put_back:
        pause_s = record.get("next_attempt_at", 0.0) - time()
        return Notice("waits", f"{event.source}: the server asks for a pause of {span_text(pause_s)}")
    if event.phase == Phase.RUNNING:
        again = f" (attempt {record['attempt']})" if record["attempt"] > 1 else ""
        return Notice("start", f"{shown}{again}")
    if event.phase == Phase.SUCCEEDED:
        if record.get("already_there"):
            return Notice("here", f"{shown} -> {_path(record, folder)}, already there")
        return Notice("done", f"{shown} -> {_path(record, folder)}, {_effort(record)}")
    if event.phase == Phase.BACKING_OFF:
        in_s = record.get("next_attempt_at", 0.0) - time()
        return Notice("again", f"{shown}: {record.get('error')}; next attempt in {span_text(in_s)}")
    if event.phase in (Phase.FAILED, Phase.CANCELLED) and record["error_type"] != CLOSED:
        return Notice("failed", f"{shown}: {record.get('error') or 'cancelled'}")
    return None


def _path(record: Record, folder: str | None) -> str:
    path = PurePath(record["file_path"])
    if folder is not None:
        below = os.path.relpath(path, folder)
        if PurePath(below).parts[0] != os.pardir:
            return below
    return path.name


def _effort(record: Record) -> str:
    took_s = record["finished_at"] - record["started_at"]
    return f"{bytes_text(record['transferred'])} in {span_text(took_s)}"


_STYLES: Final = {"failed": "red", "again": "yellow", "waits": "yellow", "stops": "bold"}
"""The kinds of notices that the live table prints above itself, and their styles."""


_MOST_REPRINTED: Final = 100
"""How many notices are printed again after the terminal was cleared."""


class View(Protocol):
    """Shows a run. A context manager: entered before the first download, left after the last."""

    def __enter__(self) -> View: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def show(self, notice: Notice) -> None:
        """Show a notice. Called on the subscriber's thread."""

    def frame(self, take: Callable[[], Board]) -> None:
        """Show a frame. Called several times a second; ``take()`` returns the current board."""


class Silence:
    """A view that shows nothing."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, notice: Notice) -> None:
        """Ignore the notice."""

    def frame(self, take: Callable[[], Board]) -> None:
        """Ignore the frame."""


class Lines(Silence):
    """A view that prints a line for each notice, for files, pipes and logs."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def show(self, notice: Notice) -> None:
        """Print the notice."""
        self._outlet.line(plain(str(notice)))


class LiveTable:
    """The live table. Warnings and failures are printed above it and stay on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._size = console.size
        self._pending: deque[Text] = deque()
        self._printed: deque[Text] = deque(maxlen=_MOST_REPRINTED)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._print_pending()
        self._live.stop()

    def show(self, notice: Notice) -> None:
        """Queue the notice for the next frame, so that the subscriber's thread does not wait for the terminal."""
        style = _STYLES.get(notice.kind)
        if style is not None:
            self._pending.append(Text.assemble((f"{notice.kind:<7}", style), " ", plain(notice.text)))

    def _print_pending(self) -> None:
        """Print all pending notices above the table in one call: each call redraws the table."""
        lines = [self._pending.popleft() for _ in range(len(self._pending))]
        self._printed.extend(lines)
        if lines:
            self._console.print(Text("\n").join(lines))

    def frame(self, take: Callable[[], Board]) -> None:
        """Draw the table in the current size of the terminal."""
        size = self._console.size
        if size != self._size:
            self._size = size
            self._console.clear()  # the terminal rewrapped the old table, so its height is unknown
            self._pending.extendleft(reversed(self._printed))
            self._printed.clear()
        self._print_pending()
        self._live.update(draw(take(), size.width, size.height - 1), refresh=True)


def view_for(outlet: Outlet, *, quiet: bool, verbose: int) -> View:
    """Choose the view for standard output. ``verbose`` also turns on the engine's log: 1 for info, 2 for debug."""
    console = Console(file=outlet)  # type: ignore[arg-type]  # has all methods that rich uses
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
