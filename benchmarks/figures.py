"""Make medians, a table, verdicts and a file from the samples of a workload. Nothing is measured here."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

__all__ = [
    "QUANTILES", "QUICK", "RESULTS", "Column", "Sample", "Target", "Verdict",
    "cell", "describe_machine", "describe_sizes", "dumps", "folder_for", "machine", "markdown", "median", "quantiles",
    "spread", "table", "verdicts",
]  # fmt: skip

RESULTS: Final = Path(__file__).resolve().parent / "results"

QUICK: Final = RESULTS / "quick"
"""The folder for smaller runs and for other contenders. Git ignores it."""

Sample: TypeAlias = dict[str, float]
"""The values of one run, by name. The unit is in the name (``wall_us``, ``downloads_per_s``).

A distribution has its quantiles: ``start_us@99`` is the 99th percentile of ``start_us``.
"""

QUANTILES: Final = (0, 1, 2, 5, *range(10, 95, 5), 95, 96, 97, 98, 99, 99.5, 99.9, 100)


def quantiles(name: str, values: Sequence[float]) -> Sample:
    """Return the quantiles of ``values``, as a part of a sample. Each quantile is a value that occurred."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {f"{name}@{percent:g}": ordered[round(last * percent / 100)] for percent in QUANTILES}


@dataclass(frozen=True)
class Column:
    """One column of the table: the median of ``key``, or, with ``against``, its ratio to another row's.

    A ratio is above 1 if the contender of the row is better, which means less if ``less_is_better`` and otherwise more.
    """

    title: str
    key: str
    format: str = ".1f"
    against: str | None = None
    less_is_better: bool = True


@dataclass(frozen=True)
class Target:
    """What haulier should reach: the cell in the column ``title`` is ``at_least`` or ``at_most``.

    ``row``: the row of the cell, if it is not the subject's. ``why``: for a missed target, what would be needed to meet
    it, or why it stays missed.
    """

    title: str
    at_least: float | None = None
    at_most: float | None = None
    row: str | None = None
    why: str = ""

    def met_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def missed_by(self, value: float) -> str:
        """Say in words how far a value is from a target that it does not meet."""
        if self.at_least is not None and value < self.at_least:
            return f"{100 * (1 - value / self.at_least):.0f} % too little"
        if self.at_most:
            return f"{100 * (value / self.at_most - 1):.0f} % too much"
        return "not 0"

    def __str__(self) -> str:
        return f"≥ {self.at_least:,.10g}" if self.at_least is not None else f"≤ {self.at_most:,.10g}"


@dataclass(frozen=True)
class Verdict:
    """A target, and the measured value."""

    row: str
    target: Target
    value: float
    text: str
    """``value`` as the table has it."""

    @property
    def is_met(self) -> bool:
        return self.target.met_by(self.value)

    def __str__(self) -> str:
        said = "met" if self.is_met else f"missed, {self.target.missed_by(self.value)}"
        return f"{self.row}, {self.target.title}: {self.text}, target {self.target}: {said}"


def median(samples: Sequence[Sample]) -> Sample:
    """Return the median of each value. Without samples the result is empty."""
    return {key: statistics.median(sample[key] for sample in samples) for key in (samples[0] if samples else ())}


def spread(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Return the least and the most of each value."""
    keys = samples[0] if samples else ()
    return {key: (min(sample[key] for sample in samples), max(sample[key] for sample in samples)) for key in keys}


def cell(column: Column, row: str, medians: Mapping[str, Sample]) -> float | None:
    """Return the value of a cell. None if the contender has no such value, or the one to compare with did not run."""
    value = medians[row].get(column.key)
    if column.against is None or value is None:
        return value
    other = medians.get(column.against, {}).get(column.key)
    if other is None or not (value if column.less_is_better else other):
        return None
    return other / value if column.less_is_better else value / other


def table(columns: Sequence[Column], medians: Mapping[str, Sample]) -> list[str]:
    """Return the lines of a Markdown table with aligned columns."""
    rows = [["contender", *(column.title for column in columns)]]
    for name in medians:
        values = [(cell(column, name, medians), column.format) for column in columns]
        rows.append([name, *("-" if value is None else format(value, how) for value, how in values)])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Return a Markdown table. The first row is the head. Columns are aligned right, except those in ``left``."""
    columns = range(len(rows[0]))
    widths = [max(len(row[index]) for row in rows) for index in columns]
    aligned = [
        [(str.ljust if index in left else str.rjust)(row[index], widths[index]) for index in columns] for row in rows
    ]
    rule = ["-" * (widths[index] + (2 if index in left else 1)) + ("" if index in left else ":") for index in columns]
    lines = ["| " + " | ".join(row) + " |" for row in aligned]
    return [lines[0], "|" + "|".join(rule) + "|", *lines[1:]]


def verdicts(
    columns: Sequence[Column], targets: Sequence[Target], subject: str, medians: Mapping[str, Sample]
) -> Iterator[Verdict]:
    """Return a verdict for each target whose value was measured."""
    by_title = {column.title: column for column in columns}
    for target in targets:
        row, column = target.row or subject, by_title[target.title]
        value = cell(column, row, medians) if row in medians else None
        if value is not None:
            yield Verdict(row, target, value, format(value, column.format))


def dumps(results: Mapping[str, Any]) -> str:
    """Return JSON with one line for each run, spread and row of medians, so that a diff shows what has changed."""
    parts = []
    for key, value in results.items():
        if key in ("medians", "spread", "runs", "points"):
            value = "{\n  " + ",\n  ".join(f"{json.dumps(k)}: {_lines(v)}" for k, v in value.items()) + "\n }"
        else:
            value = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {value}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "[\n   " + ",\n   ".join(json.dumps(_rounded(each)) for each in value) + "\n  ]"
    return json.dumps(_rounded(value))


def _rounded(value: Any) -> Any:
    """Round to six digits: no clock here is more exact."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def folder_for(is_whole: bool) -> Path:
    """Return the folder for results. A smaller experiment has its own, so that it does not overwrite quoted results."""
    return RESULTS if is_whole else QUICK


def describe_sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in sizes.items())


def describe_machine(here: Mapping[str, Any]) -> str:
    """Describe the machine in one line for a page of results."""
    return (
        f"{here['cpu_count']} CPUs ({here['cpu']}), {here['implementation']} {here['python']}, "
        f"{here['system']}; {here['date']}"
    )


def machine() -> dict[str, Any]:
    """Return the machine, the time and the load, for the file of results."""
    return {
        "cpu_count": os.cpu_count(),
        "cpu": _cpu_model(),
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1min": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
