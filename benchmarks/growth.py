"""Growth curves: what a download costs as there are more of them, more sources, slots, records or subscribers.

The cost per download should stay the same. Then the slope of its curve is 0, with both axes logarithmic. A slope of 1
means that the total cost grows with the square. ``growth_curves.py`` says what each curve measures.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import hire, is_here
from benchmarks.figures import RESULTS, describe_machine, dumps, machine, markdown, median, spread
from benchmarks.fresh import RunError, command, measure_fresh
from benchmarks.growth_curves import CURVES, Curve
from benchmarks.harness import positive

__all__ = ["STEEP", "main", "run", "slope", "steep", "write"]

STEEP: Final = 0.15
"""A curve with a larger slope is named as steep: with ten times as many, each costs 1.4 times as much."""

DEARER: Final = 1.5
"""The last point of a steep curve must also cost more than this many times its cheapest: noise has a slope, too."""


def slope(points: Mapping[int, float]) -> float:
    """Return the slope of the best straight line with both axes logarithmic; 0 if there are too few points."""
    pairs = [(math.log(x), math.log(y)) for x, y in points.items() if x > 0 and y > 0]
    if len(pairs) < 2:
        return 0.0
    mean_x, mean_y = sum(x for x, _ in pairs) / len(pairs), sum(y for _, y in pairs) / len(pairs)
    square = sum((x - mean_x) ** 2 for x, _ in pairs)
    return sum((x - mean_x) * (y - mean_y) for x, y in pairs) / square if square else 0.0


def line(results: Mapping[str, Any], curve: str, row: str, key: str) -> dict[int, float]:
    """Return one line of a picture, from the file of results."""
    points = results["points"].get(curve, {}).get(row, {})
    return {int(x): sample[key] for x, sample in points.items() if key in sample}


def ranges(results: Mapping[str, Any], curve: str, row: str, key: str) -> dict[int, tuple[float, float]]:
    """Return the least and the most run of each point of a line."""
    points = results["spread"].get(curve, {}).get(row, {})
    return {int(x): tuple(sample[key]) for x, sample in points.items() if key in sample}


def steep(results: Mapping[str, Any], row: str = "haulier") -> Iterator[tuple[Curve, str, float]]:
    """Yield each line of haulier that is too steep: the curve, the title of the line, its slope."""
    for curve in CURVES:
        for key, title in curve.lines.items():
            points = line(results, curve.name, row, key)
            if not points or key not in curve.judged:
                continue
            least = min(value for value in points.values())
            found = slope(points)
            if found > STEEP and list(points.values())[-1] > DEARER * least:
                yield curve, title, found


def run(runs: int, *, size: str = "full") -> dict[str, Any]:
    """Measure every curve, each point in fresh processes. ``size``: full, quick or smoke."""
    here = machine()
    points: dict[str, dict[str, dict[int, Any]]] = {}
    ranges: dict[str, dict[str, dict[int, Any]]] = {}
    died: dict[str, str] = {}
    for curve in CURVES:  # a contender that dies gets no further points
        for row, most in curve.rows.items():
            if not is_here(row) or (size != "full" and row != "haulier"):
                continue
            for x in curve.points_of(size):
                if x > most:
                    continue
                arguments = ["--measure", f"{curve.name}:{row}:{x}"]
                try:
                    samples = [measure_fresh(Path(__file__).resolve(), arguments) for _ in range(runs)]
                except RunError as exc:
                    if row == "haulier":
                        raise RunError(f"growth: {arguments[1]}: {exc}") from None
                    died[f"{curve.name}, {row}, {x:,}"] = str(exc).splitlines()[0]
                    break
                points.setdefault(curve.name, {}).setdefault(row, {})[x] = median(samples)
                ranges.setdefault(curve.name, {}).setdefault(row, {})[x] = spread(samples)
                if size == "smoke":
                    print(f"growth: {curve.name}, {row}: ok ({x:,})")
                else:
                    print(f"growth: {curve.name}, {row}: {x:,}", file=sys.stderr)
    return {
        "workload": "growth",
        "command": "",
        "machine": here,
        "runs_each": runs,
        "died": died,
        "points": points,
        "spread": ranges,
    }


def write(results: Mapping[str, Any], folder: Path) -> str:
    """Write the files of results. Returns the page."""
    page = page_of(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.md").write_text(page, encoding="utf-8")
    (folder / "growth.json").write_text(dumps(results), encoding="utf-8")
    return page


def page_of(results: Mapping[str, Any]) -> str:
    """Make the page of the curves from their file of results."""
    each = results["runs_each"]
    runs = "One run" if each == 1 else f"Medians of {each} runs, one after the other"
    page = [
        "# Growth: what does a download cost as there are more of everything?",
        "",
        f"{runs}, every point in a fresh process.",
        f"{describe_machine(results['machine'])}; `{results['command']}`.",
        "",
        "A slope of 0 means that the cost of each does not depend on their number. With 1, twice as many make each "
        "cost twice as much.",
    ]
    for curve in CURVES:
        if curve.name in results["points"]:
            page += ["", f"## {curve.title}", "", *_table(results, curve)]
    found = [
        f"- {curve.title}: {title}: slope {value:.2f}. {curve.why.get(title, '')}".rstrip()
        for curve, title, value in steep(results)
    ]
    page += ["", "## Steeper than flat", "", *(found or ["None."])]
    page += [f"- {where} died: {how}" for where, how in results.get("died", {}).items()]
    return "\n".join(page) + "\n"


def _table(results: Mapping[str, Any], curve: Curve) -> list[str]:
    rows = [[curve.x, *(f"{x:,}" for x in curve.points), "slope"]]
    for row in results["points"][curve.name]:
        for key, title in curve.lines.items():
            values = line(results, curve.name, row, key)
            if values:
                cells = [_short(values[x]) if x in values else "" for x in curve.points]
                rows.append([f"{row}, {title}", *cells, f"{slope(values):+.2f}"])
    kept = [index for index in range(len(rows[0])) if any(row[index] for row in rows[1:])]
    return markdown([[row[index] for index in kept] for row in rows])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="growth: what a download costs as there are more of everything")
    parser.add_argument("--runs", type=positive, default=3, metavar="N", help="of each point; default: 3")
    parser.add_argument("--smoke", action="store_true", help="only the first point of each curve; nothing is written")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        name, row, x = options.measure.split(":")
        contender = hire(row)
        curve = next(curve for curve in CURVES if curve.name == name)
        sample = curve.measure(contender, int(x))
        contender.close()
        print(json.dumps(sample))
        return 0

    def measure() -> int:
        results = run(1 if options.smoke else options.runs, size="smoke" if options.smoke else "full")
        if not options.smoke:
            results["command"] = shlex.join(["python", "benchmarks/growth.py", *sys.argv[1:]])
            print(write(results, RESULTS))
        return 0

    return command(measure)


if __name__ == "__main__":
    sys.exit(main())
