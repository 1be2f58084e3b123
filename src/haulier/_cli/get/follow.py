"""Follow an engine until every download has ended or a signal arrives. Limit how many hosts are active meanwhile."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import islice
from math import inf
from threading import Lock
from time import monotonic, thread_time
from types import TracebackType
from typing import Final

from haulier._cli.display.board import Board, Camera
from haulier._cli.display.tally import Tally
from haulier._cli.display.views import Notice, View, notice_of
from haulier._cli.signals import Stop
from haulier._engine.engine import DownloadEngine
from haulier.events import Changed, Event
from haulier.records import TERMINAL_PHASES

__all__ = ["Explainer", "Follower", "Turns"]


class Turns:
    """Lets at most ``most`` sources download at once. The others are paused until a source has no download left.

    ``downloads``: the number of downloads of each source.
    """

    def __init__(self, engine: DownloadEngine, downloads: Mapping[str, int], most: int) -> None:
        self._engine = engine
        self._left = Counter(downloads)
        self._waiting = deque(islice(downloads, min(most, len(downloads)), None))
        self._lock = Lock()
        for source in self._waiting:
            engine.worker.set_concurrency(source, 1)  # only a source that exists can be paused
            engine.pause(source)

    def ended(self, source: str) -> None:
        """Count the end of one download of ``source``. After its last one, resume the next paused source."""
        with self._lock:
            self._left[source] -= 1
            successor = self._waiting.popleft() if self._waiting and not self._left[source] else None
        if successor is not None:
            self._engine.resume(successor)


class Explainer:
    """``--explain``: says what each source waits for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._kinds: dict[str, str] = {}

    def look(self, board: Board) -> None:
        """Show a notice for each source whose kind of state has changed since the last board."""
        for source in board.sources:
            if self._kinds.get(source.name) != source.kind:
                self._kinds[source.name] = source.kind
                self._view.show(Notice("why", f"{source.name}: {source.text}; {source.queued:,} queued"))


FRAME_S: Final = 0.125
"""Seconds between two frames of the table, and between two checks for a signal."""

FRAME_COST: Final = 10
"""The pause after a frame is at least this many times its CPU time, so that frames use at most 10 % of a core."""

CLOSE_S: Final = 5.0
"""How long running downloads may take to stop, in seconds. One that still connects after that has no file yet."""


class Follower:
    """A context manager around a run: counts events, feeds the view, and closes the engine at the end."""

    def __init__(
        self,
        engine: DownloadEngine,
        tally: Tally,
        view: View,
        stop: Stop,
        ended: Callable[[str], object] = lambda source: None,
        folder: str | None = None,
    ) -> None:
        self.tally = tally
        self.ended = ended
        """Called with the name of the source for each download that ended."""
        self._folder = folder
        """Where the paths of finished files are shown from."""
        self._engine = engine
        self._view = view
        self._stop = stop
        self._camera = Camera(engine, tally)
        self._exits = ExitStack()
        self._next_at = 0.0

    def __enter__(self) -> Follower:
        # A missed event would leave the count incomplete, so the capacity is unlimited.
        subscription = self._engine.subscribe(self._on_event, capacity=sys.maxsize)
        self._exits.callback(subscription.close)
        self._exits.enter_context(self._view)
        self._exits.callback(self._engine.close, timeout=CLOSE_S)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.__exit__(exc_type, exc, traceback)

    def glance(self) -> None:
        """Show a frame of the live table if one is due. Never waits."""
        if monotonic() >= self._next_at:
            began = thread_time()
            self._view.frame(self._camera.take)
            self._next_at = monotonic() + max(FRAME_S, FRAME_COST * (thread_time() - began))

    def wait(self, look: Callable[[Board], None] | None = None, at_most_s: float = inf) -> None:
        """Show frames until all downloads have ended, a signal arrives or ``at_most_s`` seconds have passed.

        ``look`` is called with every board.
        """
        until = monotonic() + at_most_s
        while not self.tally.all_ended.wait(FRAME_S) and self._stop.signum is None and monotonic() < until:
            if look is not None:
                look(self._camera.take())
            self.glance()
        if self._stop.signum is not None:
            self._view.show(Notice("stops", "stopping running downloads; interrupt again to end at once"))
            self._view.frame(self._camera.take)  # the last frame: the downloads may take up to CLOSE_S to stop
            for download_id, source in self.tally.now_running():
                record = self._engine.get_record(source, download_id)
                if record is not None:
                    self.tally.stopped_at[download_id] = record["attempt"], record["progress"]

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, Changed):
            return
        notice = notice_of(event, put_back=self.tally.count(event), folder=self._folder)
        if event.phase in TERMINAL_PHASES:
            self.ended(event.source)
        if notice is not None:
            self._view.show(notice)
