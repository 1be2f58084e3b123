"""Threads that are torn: an exception is raised in them in the middle of a step, at a bytecode of one's choice."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pykka
import pytest
from tests.waiting import GUARD_S

from haulier import DownloadEngine, StoreUnavailable, UnknownDownload

__all__ = ["GUARD_S", "STRIDE", "TORN", "Tear", "Torn", "refused", "sweep"]


STRIDE: Final = int(os.environ.get("HAULIER_STRIDE", "29"))
"""A thread is torn at every so many bytecodes. At every single one of them it takes minutes."""


TORN: Final = [
    pytest.mark.skipif(
        sys.version_info[:2] == (3, 12), reason="tracing opcodes in several threads crashes CPython 3.12"
    ),
    pytest.mark.timeout(1800),
    pytest.mark.expect_errors,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),  # torn in its very last step
]
"""The marks of tests that tear."""


class Torn(BaseException):
    """Raised in the middle of a step."""


class Tear:
    """Raises ``Torn`` once, before bytecode number ``step`` of what threads do in ``rooms``, files of haulier."""

    def __init__(self, step: int, rooms: Collection[str]) -> None:
        self.over = False
        """Nobody is torn any more."""
        self.where: str | None = None
        """Where somebody was."""
        self._left = step
        self._rooms = {Path(room) for room in rooms}
        self._known: dict[CodeType, bool] = {}

    def trace(self, monkeypatch: pytest.MonkeyPatch, actor: type[pykka.ThreadingActor]) -> None:
        """Tear threads of this kind of actor."""
        real = actor._actor_loop

        def loop(torn: Any) -> None:
            sys.settrace(self)
            real(torn)

        monkeypatch.setattr(actor, "_actor_loop", loop)

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """As ``sys.settrace`` calls it."""
        code = frame.f_code
        if code not in self._known:
            self._known[code] = Path(*Path(code.co_filename).parts[-2:]) in self._rooms
        if self.over or not self._known[code]:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self._left -= 1
            if self._left < 0:
                self.over, self.where = True, f"{code.co_qualname}, line {frame.f_lineno}"
                raise Torn
        return self


def sweep(rooms: Collection[str], play: Callable[[Tear], None], stride: int = STRIDE) -> int:
    """Play again and again, torn a little later each time, until nobody is; how many bytecodes there are."""
    for step in count(0, stride):
        tear = Tear(step, rooms)
        play(tear)
        if tear.where is None:
            print(f"torn at {step // stride} of {step} bytecodes")
            return step
    raise AssertionError


def refused(engine: DownloadEngine) -> int:
    """Want everything that one may want of a store, at "tidal"; how often that was told that it died."""
    ids: list[str] = []
    calls: list[Callable[[], object]] = [
        *(lambda n=n: ids.append(engine.worker.dispatch("tidal", n, "n", "f")) for n in range(5)),
        lambda: engine.add_record("own", "own", {"state": "InProgress"}),
        lambda: engine.update_record("tidal", ids[0], {"state": "Mine", "n": 1}),
        lambda: engine.update_record_unless_state("own", "own", {"n": 1}, ("Errored",)),
        lambda: engine.cancel_download(ids[1]),
        lambda: engine.wait(ids[2], GUARD_S),
        lambda: engine.remove_record("tidal", ids[0]),
        lambda: list(engine.as_completed(ids[3:], GUARD_S)),
        lambda: engine.clear_all_completed_downloads(),
    ]
    many = 0
    for call in calls:
        try:
            call()
        except UnknownDownload:
            pass  # retention has let it go
        except (StoreUnavailable, Torn):  # the latter where it might have come of a caller's own object
            many += 1
    return many
