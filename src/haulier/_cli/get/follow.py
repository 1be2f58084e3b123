"""Follow an engine until every download has ended, or a signal asks to stop. Hosts take turns meanwhile."""

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
from haulier._cli.display.views import News, View, news_of
from haulier._cli.signals import Stop
from haulier._engine.engine import DownloadEngine
from haulier.events import Changed, Event
from haulier.records import TERMINAL_PHASES

__all__ = ["Explainer", "Follower", "Turns"]


class Turns:
    """``downloads``: how many each source has. Sources beyond the first ``most`` are paused until one is through."""

    def __init__(self, engine: DownloadEngine, downloads: Mapping[str, int], most: int) -> None:
        self._engine = engine
        self._left = Counter(downloads)
        self._waiting = deque(islice(downloads, min(most, len(downloads)), None))
        self._lock = Lock()
        for source in self._waiting:
            engine.pause(source)

    def ended(self, source: str) -> None:
        """One of the source's downloads is over."""
        with self._lock:
            self._left[source] -= 1
            follower = self._waiting.popleft() if self._waiting and not self._left[source] else None
        if follower is not None:
            self._engine.resume(follower)


class Explainer:
    """Looks at every board."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._kinds: dict[str, str] = {}

    def look(self, board: Board) -> None:
        """Tell of each source that waits for something else than before."""
        for source in board.sources:
            if self._kinds.get(source.name) != source.kind:
                self._kinds[source.name] = source.kind
                self._view.tell(News("why", f"{source.name}: {source.text}; {source.queued:,} wait"))


FRAME_S: Final = 0.125
"""Between two frames of the table, and between two looks at whether a signal came."""

FRAME_COST: Final = 10
"""Between two frames lies at least so many times the work of one: they take a tenth of a processor at most."""

CLOSE_S: Final = 5.0
"""How long running downloads may take to stop. One that still connects then has no file yet."""


class Follower:
    """A context manager around a run: keeps the tally, tells the view, and closes the engine at the end."""

    def __init__(
        self,
        engine: DownloadEngine,
        tally: Tally,
        view: View,
        stop: Stop,
        ended: Callable[[str], object] = lambda source: None,
    ) -> None:
        self.tally = tally
        self.ended = ended
        """Called with a source's name for each of its downloads that is over."""
        self._engine = engine
        self._view = view
        self._stop = stop
        self._camera = Camera(engine, tally)
        self._exits = ExitStack()
        self._next_at = 0.0

    def __enter__(self) -> Follower:
        # No event may be missed, or the count would never be full.
        subscription = self._engine.subscribe(self._hear, capacity=sys.maxsize)
        self._exits.callback(subscription.close)
        self._exits.enter_context(self._view)
        self._exits.callback(self._engine.close, timeout=CLOSE_S)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.__exit__(exc_type, exc, traceback)

    def glance(self) -> None:
        """Show a frame of the live table if one is due, without waiting."""
        if monotonic() >= self._next_at:
            began = thread_time()
            self._view.frame(self._camera.take)
            self._next_at = monotonic() + max(FRAME_S, FRAME_COST * (thread_time() - began))

    def wait(self, look: Callable[[Board], None] | None = None, at_most_s: float = inf) -> None:
        """Show what happens until all is over or a signal came; ``look`` sees every board, if it wants to."""
        until = monotonic() + at_most_s
        while not self.tally.over.wait(FRAME_S) and self._stop.signum is None and monotonic() < until:
            if look is not None:
                look(self._camera.take())
            self.glance()
        if self._stop.signum is not None:
            self._view.tell(News("stops", "what runs is asked to stop; once more, and it ends at once"))
            self._view.frame(self._camera.take)  # the last one before the end, which may take some seconds

    def _hear(self, event: Event) -> None:
        if not isinstance(event, Changed):
            return
        news = news_of(event, put_back=self.tally.hear(event))
        if event.phase in TERMINAL_PHASES:
            self.ended(event.source)
        if news is not None:
            self._view.tell(news)
