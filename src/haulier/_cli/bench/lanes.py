"""Draw the timeline for a terminal: a line for each slot, a column for each span of time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from typing import Final

from rich.text import Text

from haulier._cli.bench.course import Bar, Course, Gap

__all__ = ["draw"]

MOST_LANES: Final = 40
"""The greatest number of lanes. Further slots are counted, not drawn."""

_STYLES: Final = {
    "run": "blue", "fails": "yellow", "crash": "bold red", "restart": "bold magenta", "delay": "dim", "rest": "magenta",
}  # fmt: skip
"""The style of each kind of cell. The signs differ too, for terminals without colours."""

_SIGNS: Final = {
    "run": "█▓", "fails": "▒░", "crash": "✗✗", "restart": "↻↻", "delay": "··", "rest": "╌╌",
}  # fmt: skip
_ASCII: Final = {"run": "#=", "fails": "%:", "crash": "xx", "restart": "rr", "delay": "..", "rest": "--"}
"""Two signs for each kind: neighbouring downloads alternate, which shows where the next one begins."""

_LEGEND: Final = (
    ("run", "runs"), ("fails", "fails"), ("crash", "crashes"), ("rest", "waits for its restart"),
    ("restart", "restarts"), ("delay", "waits for its delay"),
)  # fmt: skip


def draw(course: Course, width: int, *, encoding: str = "utf-8") -> list[Text]:
    """Draw ``course`` in lines of at most ``width`` columns. ``encoding`` decides between symbols and ASCII."""
    signs = _SIGNS if _can(encoding) else _ASCII
    label = max((len(name) for name in course.slots), default=0) + 2
    columns = max(10, width - label)
    until = max(course.makespan_s, 1e-9)
    bars: dict[tuple[str, int], list[Bar]] = defaultdict(list)
    gaps: dict[tuple[str, int], list[Gap]] = defaultdict(list)
    for bar in course.bars:
        bars[bar.source, bar.lane].append(bar)
    for gap in course.gaps:
        gaps[gap.source, gap.lane].append(gap)
    lanes = [(name, lane) for name, slots in course.slots.items() for lane in range(slots)]
    lines = [_axis(label, columns, course.makespan_s)]
    for name, lane in lanes[:MOST_LANES]:
        line = Text()
        line.append(f"{name if lane == 0 else '':<{label}}", "bold")
        cells = _cells(bars[name, lane], gaps[name, lane], columns, until)
        for what, run in groupby(cells, key=lambda cell: cell[0]):
            line.append("".join(signs[what][turn] if what else " " for what, turn in run), _STYLES.get(what, ""))
        line.rstrip()
        lines.append(line)
    if len(lanes) > MOST_LANES:
        lines.append(Text(f"{'':{label}}and {len(lanes) - MOST_LANES:,} more slots", "dim"))
    return [*lines, Text(), *_legend(course, signs, label, width)]


def _legend(course: Course, signs: Mapping[str, str], label: int, width: int) -> list[Text]:
    """Explain the signs that appear in the drawing, and no others."""
    fails = ("failed", "retried")
    seen: set[str] = {"fails" if bar.ending in fails else "run" for bar in course.bars}
    seen |= {gap.kind for gap in course.gaps}
    seen |= {each for bar in course.bars if bar.ending == "crashed" for each in ("crash", "restart")}
    lines = [Text(" " * label)]
    for what, means in _LEGEND:
        if what not in seen:
            continue
        sign = signs[what] if what in ("run", "fails") else signs[what][0]
        if lines[-1].cell_len + len(sign) + 1 + len(means) > width and lines[-1].cell_len > label:
            lines.append(Text(" " * label))
        lines[-1].append(sign, _STYLES[what])
        lines[-1].append(f" {means}   ")
    for line in lines:
        line.rstrip()
    return lines


def _axis(label: int, columns: int, until: float) -> Text:
    """The seconds above the lanes: at the start, at the end and, if there is room, in the middle."""
    middle, end = f"{until / 2:.3g}", f"{until:.3g} s"
    half = columns // 2
    axis = "0" + (f"{middle:>{half - 1}}" if columns > 40 else "")
    return Text(f"{'':{label}}{axis}{end:>{columns - len(axis)}}", "dim")


def _cells(bars: list[Bar], gaps: list[Gap], columns: int, until: float) -> list[tuple[str, int]]:
    """What each column shows: what took most of its time. A crash or a restart is always shown."""
    each_s = until / columns
    shown: list[tuple[float, str, int]] = [(0.25 * each_s, "", 0)] * columns
    for gap in gaps:
        _lay(shown, gap.start, gap.end, each_s, gap.kind, 0)
    for number, bar in enumerate(bars):
        what = "fails" if bar.ending in ("failed", "retried") else "run"
        _lay(shown, bar.start, bar.end, each_s, what, number % 2)
    cells = [(what, turn) for _, what, turn in shown]
    for gap in gaps:
        if gap.kind == "rest" and gap.end <= until:
            cells[min(columns - 1, int(gap.end / each_s))] = ("restart", 0)
    for bar in bars:
        if bar.ending == "crashed":
            cells[min(columns - 1, int(bar.end / each_s))] = ("crash", 0)
    return cells


def _lay(shown: list[tuple[float, str, int]], start: float, end: float, each_s: float, what: str, turn: int) -> None:
    first, last = int(start / each_s), min(len(shown) - 1, int(end / each_s))
    for column in range(first, last + 1):
        covers = min(end, (column + 1) * each_s) - max(start, column * each_s)
        if covers > shown[column][0]:
            shown[column] = (covers, what, turn)


def _can(encoding: str) -> bool:
    try:
        "".join(_SIGNS.values()).encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True
