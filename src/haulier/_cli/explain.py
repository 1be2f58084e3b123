"""``--explain``: a line whenever what a source waits for changes."""

from __future__ import annotations

from haulier._cli.board import Board
from haulier._cli.news import News
from haulier._cli.views import View

__all__ = ["Explainer"]


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
