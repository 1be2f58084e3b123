"""Report the numbers of a run in words and tables."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final, NamedTuple

from rich.table import Table

from haulier._cli.bench.measures import Measures
from haulier._cli.display.text import counted

__all__ = ["Compared", "by_source", "compared", "comparison", "summary"]

ROWS: Final = (
    ("succeeded", "succeeded", "{:,.0f}"),
    ("failed", "failed", "{:,.0f}"),
    ("attempts", "attempts", "{:,.0f}"),
    ("restarts", "restarts", "{:,.0f}"),
    ("makespan_s", "makespan", "{:,.3f} s"),
    ("throughput", "throughput", "{:,.2f} /s"),
    ("wait_mean_s", "wait, mean", "{:,.3f} s"),
    ("wait_p50_s", "wait, p50", "{:,.3f} s"),
    ("wait_p95_s", "wait, p95", "{:,.3f} s"),
    ("wait_p99_s", "wait, p99", "{:,.3f} s"),
    ("wait_max_s", "wait, max", "{:,.3f} s"),
    ("fairness", "fairness", "{:.3f}"),
    ("utilisation", "utilisation", "{:.1%}"),
)
"""The numbers that are compared: the key, the name in the table, and the format."""


class Compared(NamedTuple):
    """One number: the simulated value, and the range of the real ones."""

    key: str
    simulated: float
    least: float
    middle: float
    most: float

    @property
    def is_within(self) -> bool:
        """Whether the simulated value lies within the range of the real ones."""
        return self.least <= self.simulated <= self.most

    @property
    def verdict(self) -> str:
        """``within``, or how far the simulated value lies below or above the nearest real one."""
        if self.is_within:
            return "within"
        side, nearest = ("below", self.least) if self.simulated < self.least else ("above", self.most)
        return f"{abs(self.simulated - nearest) / nearest:.1%} {side}" if nearest else side


def compared(simulated: Measures, real: list[Measures]) -> Iterator[Compared]:
    """Compare each simulated number with the real runs."""
    for key, _, _ in ROWS:
        seen = [float(getattr(each, key)) for each in real]
        yield Compared(key, float(getattr(simulated, key)), min(seen), median(seen), max(seen))


def summary(measures: Measures) -> list[str]:
    """Summarise the run in five lines."""
    restarts = f", {counted(measures.restarts, 'restart')}" if measures.restarts else ""
    failed = f", {measures.failed:,} failed" if measures.failed else ""
    return [
        f"{measures.succeeded:,} of {counted(measures.downloads, 'download')} succeeded{failed}; "
        f"{counted(measures.attempts, 'attempt')}{restarts}",
        f"throughput   {measures.throughput:,.2f} downloads per second in {measures.makespan_s:,.2f} s",
        f"waits        mean {measures.wait_mean_s:,.3f} s, p50 {measures.wait_p50_s:,.3f}, "
        f"p95 {measures.wait_p95_s:,.3f}, p99 {measures.wait_p99_s:,.3f}, max {measures.wait_max_s:,.3f}",
        f"fairness     {measures.fairness:.3f} (Jain's index of the sources' throughputs; 1: all are equal)",
        f"utilisation  {measures.utilisation:.1%} of the slots' time",
    ]


def by_source(measures: Measures) -> Table:
    """Make a table with a row for each source."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("source", no_wrap=True)
    for heading in ("slots", "downloads", "failed", "restarts", "per second", "mean wait", "p95 wait", "busy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in measures.sources:
        table.add_row(
            each.name, str(each.slots), f"{each.downloads:,}", f"{each.failed:,}", f"{each.restarts:,}",
            f"{each.throughput:,.2f}", f"{each.wait_mean_s:,.3f} s", f"{each.wait_p95_s:,.3f} s",
            f"{each.utilisation:.1%}",
        )  # fmt: skip
    return table


def comparison(rows: list[Compared], runs: int) -> Table:
    """Make a table of the simulated and the real values. Values outside the real range are yellow."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(counted(runs, "real run"), no_wrap=True)
    for heading in ("simulated", "real: min", "median", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("simulated is", no_wrap=True)
    words = {key: (name, form) for key, name, form in ROWS}
    for row in rows:
        name, form = words[row.key]
        numbers = (form.format(each) for each in (row.simulated, row.least, row.middle, row.most))
        table.add_row(name, *numbers, row.verdict, style="" if row.is_within else "yellow")
    return table
