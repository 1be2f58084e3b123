"""The lines of a trace (see ``haulier.trace``), parsed for ``haulier.verify``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

__all__ = ["Line", "no_trace", "parsed"]

_BEGINNING: Final = '{"run": "'
"""How every line starts."""


class Line(NamedTuple):
    """One line of a trace."""

    number: int
    text: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return f"line {self.number}: {self.text}"


def parsed(lines: Iterable[str]) -> Iterator[Line]:
    cut_off: Line | None = None
    for number, text in enumerate(lines, 1):
        line = _line(number, text.rstrip("\n"))
        if cut_off is not None and (line is None or line.values["event"] != "opened"):
            raise no_trace(cut_off)
        if line is None:
            # The process was killed while it wrote this line. It is the last line, or the next engine's follows.
            cut_off = Line(number, text.rstrip("\n"), {})
            if number == 1 or not _BEGINNING.startswith(cut_off.text[: len(_BEGINNING)]):
                raise no_trace(cut_off)
        else:
            cut_off = None
            yield line


def _line(number: int, text: str) -> Line | None:
    """Parse a line; None if it is cut off. Raises ``ValueError`` if it is not a line of a trace."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    try:
        values["run"], values["event"], values["at"] + 0.0
    except (KeyError, TypeError):
        raise no_trace(Line(number, text, {})) from None
    return Line(number, text, values)


def no_trace(line: Line) -> ValueError:
    what = "this is not a trace" if line.number == 1 else f"line {line.number} is not a line of a trace"
    return ValueError(f"{what}: {line.text[:80]!r}")
