"""Pictures of the results: bars for each workload, distributions, memory and the growth curves. SVG and PNG.

Needs matplotlib, which is in the dependency group ``bench``. No other module of the benchmarks needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import growth
from benchmarks.figures import Column
from benchmarks.growth_curves import CURVES, Curve
from benchmarks.harness import Workload

__all__ = ["draw"]

OURS: Final = "#d1495b"
OTHERS: Final = "#9aa5b1"
INK: Final = "#2b2d42"

COLOURS: Final = {
    "haulier": OURS, "durable": OURS, "threads": "#30638e", "pool": "#00798c", "asyncio": "#edae49",
    "dramatiq": "#8f6bb3", "huey": "#76a646", "huey-sqlite": "#76a646", "floor": "#8d99ae",
}  # fmt: skip

WIDE: Final = 12.0
"""If the greatest bar is more than this many times the least, the axis is logarithmic."""

STYLE: Final[Mapping[str, Any]] = {
    "font.size": 9.5, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#b8bec6", "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": "#e6e9ed",
    "axes.axisbelow": True, "figure.facecolor": "white", "legend.frameon": False, "svg.hashsalt": "haulier",
    "svg.fonttype": "none",
}  # fmt: skip


def draw(
    workloads: Sequence[tuple[Workload, Mapping[str, Any]]], grown: Mapping[str, Any] | None, folder: Path
) -> None:
    """Draw all pictures from the files of results. Each is ``NAME.svg`` and ``NAME.png``."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context(dict(STYLE)):
        for workload, results in workloads:
            if workload.bars:
                _bars(workload, results, folder / workload.name)
            for name, title in workload.curves.items():
                _distribution(title, name, results, folder / f"{workload.name}-{name.rpartition('_')[0]}")
        if grown is not None:
            _cost(grown, folder / "growth-cost")
            _memory(grown, folder / "growth-memory")
            for curve in CURVES[1:]:
                if curve.name in grown["points"]:
                    _curve(curve, grown, folder / f"growth-{curve.name}")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    # No date in the file: the same figures make the same picture.
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=120, metadata={"Software": None})
    pyplot.close(figure)
    svg = path.with_suffix(".svg")
    lines = svg.read_text(encoding="utf-8").splitlines()
    svg.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def _plain(axis: Any) -> None:
    """Write plain numbers, also on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _bars(workload: Workload, results: Mapping[str, Any], path: Path) -> None:
    """Draw a bar for the median, and a line from the least to the most run."""
    column = next(column for column in workload.columns if column.key == workload.bars and column.against is None)
    rows = [row for row in results["medians"] if workload.bars in results["medians"][row]]
    values = [results["medians"][row][workload.bars] for row in rows]
    figure, axes = _figure(7.2, 0.9 + 0.38 * len(rows))
    axes.grid(axis="y", visible=False)
    axes.set_title(f"{workload.name.upper()}: {workload.title}")
    axes.set_xlabel(f"{column.title} ({'less' if _less(column, workload) else 'more'} is better)")
    is_log = max(values) > WIDE * min(values) > 0
    if is_log:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 4)
    else:
        axes.set_xlim(0, max(values) * 1.18)
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        ours = row == workload.subject or row.partition(":")[0] in ("haulier", "durable")
        axes.barh(place, value, color=OURS if ours else OTHERS, height=0.62)
        least, most = results["spread"][row][workload.bars]
        axes.plot([least, most], [place, place], color=INK, linewidth=1.2, marker="|", markersize=6)
        axes.annotate(
            format(value, column.format), (max(value, most), place), xytext=(5, 0), textcoords="offset points",
            va="center", fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    _plain(axes.xaxis)
    _save(figure, path)


def _less(column: Column, workload: Workload) -> bool:
    """Whether less is better, according to the ratios of this value."""
    return next((each.less_is_better for each in workload.columns if each.key == column.key and each.against), True)


def _distribution(title: str, name: str, results: Mapping[str, Any], path: Path) -> None:
    """Draw which part had ended within which time, from the medians of the quantiles."""
    figure, axes = _figure(7.2, 3.9)
    axes.set_title(f"{results['workload'].upper()}: {title}", fontsize=10.5)
    axes.set_xscale("log")
    for row, medians in results["medians"].items():
        points = [(value, float(key.partition("@")[2])) for key, value in medians.items() if key.startswith(f"{name}@")]
        if points:
            xs, ys = [max(x, 0.1) for x, _ in points], [y for _, y in points]
            ours = row.partition(":")[0] in ("haulier", "durable")
            axes.plot(xs, ys, label=row, color=COLOURS.get(row, INK), linewidth=2.6 if ours else 1.5,
                      zorder=3 if ours else 2)  # fmt: skip
    axes.set_ylabel("% of them within that time")
    axes.set_xlabel("µs")
    axes.set_ylim(0, 101)
    axes.axhline(50, color="#c9ced6", linewidth=0.8, zorder=1)
    axes.axhline(99, color="#c9ced6", linewidth=0.8, zorder=1)
    _plain(axes.xaxis)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)


def _cost(grown: Mapping[str, Any], path: Path) -> None:
    """Draw the cost of queueing and running a download over the length of the queue."""
    figure, axes = _figure(7.2, 4.2)
    axes.set_title("What one download costs, with so many queued")
    for row in grown["points"].get("queued", {}):
        dispatch, ran = (growth.line(grown, "queued", row, key) for key in ("dispatch_us", "run_us"))
        both = {x: dispatch[x] + ran[x] for x in dispatch}
        ours = row == "haulier"
        axes.plot(list(both), list(both.values()), marker="o", markersize=4.5, color=COLOURS.get(row, INK),
                  linewidth=2.6 if ours else 1.5, label=f"{row} ({growth.slope(both):+.2f})")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("downloads queued at one source")
    axes.set_ylabel("µs each, dispatch and run")
    _plain(axes.xaxis)
    _plain(axes.yaxis)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="slope in brackets")
    _save(figure, path)


def _memory(grown: Mapping[str, Any], path: Path) -> None:
    figure, axes = _figure(7.2, 4.2)
    axes.set_title("Memory that the queue occupies")
    for row in grown["points"].get("queued", {}):
        each = growth.line(grown, "queued", row, "bytes_each")
        mib = {x: x * value / 2**20 for x, value in each.items() if x >= 1_000}
        axes.plot(list(mib), list(mib.values()), marker="o", markersize=4.5, color=COLOURS.get(row, INK),
                  linewidth=2.6 if row == "haulier" else 1.5, label=row)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("downloads queued at one source")
    axes.set_ylabel("MiB of resident memory")
    _plain(axes.xaxis)
    _plain(axes.yaxis)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)


def _curve(curve: Curve, grown: Mapping[str, Any], path: Path) -> None:
    """Draw one panel for each line of a curve, because their units differ."""
    from matplotlib import pyplot

    panels = len(curve.lines)
    figure, all_axes = pyplot.subplots(1, panels, figsize=(3.4 * panels, 3.1), layout="constrained", squeeze=False)
    figure.suptitle(curve.title, fontweight="bold", x=0.01, ha="left", fontsize=11)
    rows = [row for row in curve.rows if row in grown["points"][curve.name]]
    for axes, (key, title) in zip(all_axes[0], curve.lines.items(), strict=True):
        most = 1e-3
        for row in rows:
            found = growth.line(grown, curve.name, row, key)
            shift = 1 if 0 in found else 0  # nothing has no logarithm: none is drawn at 1, one at 2
            axes.plot([x + shift for x in found], list(found.values()), marker="o", markersize=4.5, label=row,
                      color=COLOURS.get(row, INK), linewidth=2.6 if row == "haulier" else 1.5)  # fmt: skip
            most = max(most, *found.values())
            ranges = growth.ranges(grown, curve.name, row, key)
            axes.fill_between([x + shift for x in ranges], *zip(*ranges.values(), strict=True), alpha=0.15, linewidth=0,
                              color=COLOURS.get(row, INK))  # fmt: skip
        axes.set_title(title, fontsize=9.5, fontweight="normal")
        axes.set_xscale("log")
        if key in curve.log:
            axes.set_yscale("log")
            axes.set_ylim(top=most * 1.6)
        else:
            axes.set_ylim(0, most * 1.25)
        _plain(axes.yaxis)
        xs = [x + (1 if curve.points[0] == 0 else 0) for x in curve.points]
        axes.set_xticks(xs, [f"{x:,}" if x < 10_000 else f"{x // 1_000:,}k" for x in curve.points])
        axes.minorticks_off()
        axes.set_xlabel(curve.x)
    if len(rows) > 1:
        all_axes[0][-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)
