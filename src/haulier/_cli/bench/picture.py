"""Draw the timeline as a picture: a lane for each slot, a bar for each attempt. Needs ``haulier[bench]``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import ceil
from typing import Any, Final

from haulier._cli.bench.course import Bar, Course

__all__ = ["draw"]

# The colours of Okabe and Ito: colour-blind people can distinguish them, also in grey.
_COLOURS: Final = {
    "succeeded": "#0072B2",
    "retried": "#E69F00",
    "failed": "#D55E00",
    "crashed": "#D55E00",
    "open": "#999999",
}
_CRASH: Final = "#000000"
_RESTART: Final = "#009E73"
_DELAY: Final = "#D9E6EF"
_REST: Final = "#B07A9C"

_MEANINGS: Final = {
    "succeeded": "succeeds",
    "retried": "fails, and is retried",
    "failed": "fails for good, or crashes its slot",
    "open": "has not ended",
}

MOST_LANES: Final = 120
"""The greatest number of lanes. More would be too thin, so only the first ones are drawn."""


def draw(course: Course, path: str | os.PathLike[str], title: str) -> None:
    """Draw ``course`` to the file ``path``. Its suffix, ``.svg`` or ``.png``, decides the format.

    Raises ``OSError`` if the file cannot be written, and ``ImportError`` without matplotlib.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lanes = [(name, lane) for name, slots in course.slots.items() for lane in range(slots)]
    left_out = max(0, len(lanes) - MOST_LANES)
    places = {each: place for place, each in enumerate(lanes[:MOST_LANES])}
    # Keep text as text. A fixed salt and no date: the same run must give the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "haulier", "font.size": 9.5, "hatch.linewidth": 0.7}):
        figure = Figure(figsize=(10, 1.75 + 0.3 * max(3, len(places))), layout="constrained")
        axes = figure.add_subplot()
        _gaps(axes, course, places)
        _bars(axes, course.bars, places)
        _marks(axes, course, places)
        _scales(axes, course, places)
        more = f" (and {left_out:,} more slots)" if left_out else ""
        axes.set_title(title + more, loc="left", fontsize=11, fontweight="bold")
        handles = _legend(course)
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, ceil(len(handles) / 2)), frameon=False)
        figure.savefig(path, dpi=150, metadata={"Date": None} if str(path).lower().endswith(".svg") else None)


def _bars(axes: Any, bars: Iterable[Bar], places: dict[tuple[str, int], int]) -> None:
    for number, bar in enumerate(bars):
        if (bar.source, bar.lane) not in places:
            continue
        axes.barh(
            places[bar.source, bar.lane], bar.end - bar.start, left=bar.start, height=0.74,
            color=_COLOURS[bar.ending], edgecolor="white", linewidth=0.8, gid=f"bar-{number}-{bar.ending}",
        )  # fmt: skip


def _gaps(axes: Any, course: Course, places: dict[tuple[str, int], int]) -> None:
    for gap in course.gaps:
        if (gap.source, gap.lane) not in places or gap.start >= course.makespan_s:
            continue
        end = min(gap.end, course.makespan_s)
        looks: dict[str, Any] = {"color": _DELAY}
        if gap.kind == "rest":
            looks = {"facecolor": "white", "edgecolor": _REST, "hatch": "////", "linewidth": 0}
        axes.barh(
            places[gap.source, gap.lane], end - gap.start, left=gap.start, height=0.5, gid=f"gap-{gap.kind}", **looks
        )


def _marks(axes: Any, course: Course, places: dict[tuple[str, int], int]) -> None:
    crashes = [bar for bar in course.bars if bar.ending == "crashed" and (bar.source, bar.lane) in places]
    restarts = [
        gap for gap in course.gaps
        if gap.kind == "rest" and (gap.source, gap.lane) in places and gap.end <= course.makespan_s
    ]  # fmt: skip
    axes.plot(
        [bar.end for bar in crashes], [places[bar.source, bar.lane] for bar in crashes], **_mark("x"),
        gid="crashes", zorder=4,
    )  # fmt: skip
    axes.plot(
        [gap.end for gap in restarts], [places[gap.source, gap.lane] for gap in restarts], **_mark(">"),
        gid="restarts", zorder=4,
    )  # fmt: skip


def _mark(marker: str) -> dict[str, Any]:
    if marker == "x":
        return {"marker": "x", "markersize": 7, "markeredgewidth": 2, "color": _CRASH, "linestyle": ""}
    return {"marker": ">", "markersize": 8, "markeredgecolor": "white", "color": _RESTART, "linestyle": ""}


def _scales(axes: Any, course: Course, places: dict[tuple[str, int], int]) -> None:
    axes.set_xlim(0, max(course.makespan_s, 1e-9) * 1.01)
    axes.set_ylim(len(places) - 0.4, -0.6)
    firsts = [place for (_, lane), place in places.items() if lane == 0]
    names = [name for name, lane in places if lane == 0]
    middles = [(at + until - 1) / 2 for at, until in zip(firsts, [*firsts[1:], len(places)], strict=True)]
    slots = {name: f"{name}\n{count} slots" for name, count in course.slots.items() if count > 1}
    axes.set_yticks(middles, [slots.get(name, name) for name in names])
    for place in firsts[1:]:
        axes.axhline(place - 0.5, color="#BBBBBB", linewidth=0.8)
    axes.set_xlabel("seconds since the first dispatch")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(course: Course) -> list[Any]:
    """Explain the colours and marks that appear in the picture, and no others."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    endings = {"failed" if bar.ending == "crashed" else bar.ending for bar in course.bars}
    kinds = {gap.kind for gap in course.gaps}
    handles: list[Any] = [
        Patch(color=_COLOURS[ending], label=meaning) for ending, meaning in _MEANINGS.items() if ending in endings
    ]
    if "delay" in kinds:
        handles.append(Patch(color=_DELAY, label="waits for its delay"))
    if any(bar.ending == "crashed" for bar in course.bars):
        handles.append(Line2D([], [], label="crash", **_mark("x")))
    if "rest" in kinds:
        handles.append(
            Patch(facecolor="white", edgecolor=_REST, hatch="////", linewidth=0, label="waits for its restart")
        )
        handles.append(Line2D([], [], label="restart", **_mark(">")))
    return handles
