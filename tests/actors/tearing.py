"""Threads that are torn: an exception is raised in them in the middle of a step, at a bytecode of one's choice."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pykka
import pytest

__all__ = ["STRIDE", "Tear", "Torn"]

STRIDE: Final = int(os.environ.get("HAULIER_STRIDE", "29"))
"""A thread is torn at every so many bytecodes. At every single one of them it takes minutes."""


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
