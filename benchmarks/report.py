"""Make the page with every target, and the table in the project's README, from the files of results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import growth
from benchmarks.figures import RESULTS, Verdict, describe_machine, markdown, verdicts
from benchmarks.get import GET
from benchmarks.growth_curves import CURVES
from benchmarks.harness import Workload, page_of
from benchmarks.million import MILLION
from benchmarks.restart import RESTART
from benchmarks.w1 import W1
from benchmarks.w2 import W2
from benchmarks.w3 import W3
from benchmarks.w4 import W4
from benchmarks.w5 import W5
from benchmarks.w6 import W6
from benchmarks.w7 import W7

__all__ = ["README", "WORKLOADS", "load", "readme_table", "table_in", "write_page", "write_readme", "write_tables"]

WORKLOADS: Final = (W1, W2, MILLION, W3, W4, W5, W6, W7, RESTART, GET)

README: Final = RESULTS.parents[1] / "README.md"

BEGIN: Final = "<!-- benchmarks: this table is made by `make bench` -->"
END: Final = "<!-- benchmarks: end -->"


@dataclass(frozen=True)
class Headline:
    """One line of the table in README.md. ``rows``: the row of a contender, if it is not named as its column."""

    label: str
    workload: Workload
    key: str
    format: str = ",.0f"
    rows: Mapping[str, str] | None = None


COLUMNS: Final = ("threads", "pool", "asyncio", "dramatiq", "huey", "haulier")

HEADLINES: Final = (
    Headline("an instant download in total, µs", W1, "wall_us", ",.1f"),
    Headline("CPU per instant download, µs", W1, "cpu_us", ",.1f"),
    Headline("dispatch with 10,000 queued, p50 µs", W2, "dispatch_us@50", ",.1f"),
    Headline("memory per queued download, bytes", W2, "bytes_per_queued"),
    Headline(
        "a million queued: worst pause of others, ms",
        MILLION,
        "worst_pause_ms",
        rows={"pool": "pool", "haulier": "haulier"},
    ),
    Headline("how late a delay ends, p50 µs", W3, "late_us@50"),
    Headline("dispatch to start, 32 others busy, p50 µs", W4, "start_us@50"),
    Headline("dispatch to start, 32 others busy, p99 µs", W4, "start_us@99"),
    Headline("progress patches per second", W5, "patches_per_s"),
    Headline("reading all records meanwhile, p99 µs", W5, "read_us@99"),
    Headline("a patch and a read, no other thread, µs", W5, "pair_us", ",.2f"),
    Headline("cancel one of 10,000 queued, p50 µs", W6, "visible_us@50", ",.1f"),
    Headline("an instant download on disk, µs", W7, "wall_us", rows={"haulier": "durable", "huey": "huey-sqlite"}),
    Headline("an instant download on disk, in bulk, µs", W7, "wall_us", rows={"haulier": "durable:many"}),
    Headline("crash to the next start, p50 µs", RESTART, "start_us@50"),
)


def load(folder: Path = RESULTS) -> dict[str, Any]:
    """Load the files of results that exist, by the name of their workload; ``growth`` is one of them."""
    found = {}
    for name in [*(workload.name for workload in WORKLOADS), "growth"]:
        file = folder / f"{name}.json"
        if file.exists():
            found[name] = json.loads(file.read_text(encoding="utf-8"))
    return found


def readme_table(results: Mapping[str, Any]) -> str:
    """Return the table between the two comments. The best value of a line is bold, if there is more than one."""
    rows = [["", *COLUMNS]]
    for line in HEADLINES:
        medians = results.get(line.workload.name, {}).get("medians", {})
        names = [(line.rows or {}).get(column, column if line.rows is None else "") for column in COLUMNS]
        values = [medians.get(name, {}).get(line.key) for name in names]
        if all(value is None for value in values):
            continue
        there = [value for value in values if value is not None]
        best = format(max(there) if line.key.endswith("_per_s") else min(there), line.format)
        cells = ["" if value is None else format(value, line.format) for value in values]
        marks = len(there) > 1
        rows.append([line.label, *(f"**{text}**" if marks and text == best else text for text in cells)])
    return "\n".join(markdown(rows))


def table_in(page: str) -> str:
    """Return what a page has between the two comments. Raises ``ValueError`` if they are missing."""
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    return page[start:end].strip()


def write_readme(results: Mapping[str, Any], file: Path = README) -> None:
    page = file.read_text(encoding="utf-8")
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    file.write_text(f"{page[:start]}\n{readme_table(results)}\n{page[end:]}", encoding="utf-8")


def write_tables(results: Mapping[str, Any], folder: Path) -> None:
    """Write the page of each workload, and the page of the curves."""
    for workload in WORKLOADS:
        if workload.name in results:
            (folder / f"{workload.name}.md").write_text(page_of(workload, results[workload.name]), encoding="utf-8")
    if "growth" in results:
        (folder / "growth.md").write_text(growth.page_of(results["growth"]), encoding="utf-8")


def write_page(results: Mapping[str, Any], folder: Path) -> str:
    """Write ``README.md`` of the folder of results. Returns its text."""
    text = "\n".join([*_head(results), *_targets(results), *_workloads(results, folder), *_growth(results, folder)])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    return text


def _head(results: Mapping[str, Any]) -> Iterator[str]:
    yield from ("# Results", "")
    yield "Made by `make bench` from the JSON beside it; how it is measured is in [the other README](../README.md)."
    for here in sorted({describe_machine(each["machine"]) for each in results.values()}):
        yield f"{here}."
    if any(results[each.name]["sizes"] != each.sizes for each in WORKLOADS if each.name in results):
        yield "Some of the workloads ran smaller than their targets are meant for: each table says how large."
    loads = [each["machine"]["load_1min"] for each in results.values()]
    if loads:
        yield f"Load before each workload: {min(loads):g} to {max(loads):g}, what the one before left among it."
    yield ""


def _targets(results: Mapping[str, Any]) -> Iterator[str]:
    found = list(_verdicts(results))
    met = sum(verdict.is_met for _, verdict in found)
    yield from ("## Targets", "", f"{met} of {len(found)} are met.", "")
    rows = [["workload", "what", "measured", "target", "verdict"]]
    for workload, verdict in found:
        said = "met" if verdict.is_met else f"**missed**, {verdict.target.missed_by(verdict.value)}"
        what = verdict.target.title if verdict.row == "haulier" else f"{verdict.row}, {verdict.target.title}"
        rows.append([workload.name, what, verdict.text, str(verdict.target), said])
    yield from markdown(rows, left=(0, 1, 4))
    yield ""
    for workload, verdict in found:
        if verdict.target.why and not verdict.is_met:
            yield f"- {workload.name}, {verdict.target.title}: {verdict.target.why}"
    yield ""


def _verdicts(results: Mapping[str, Any]) -> Iterator[tuple[Workload, Verdict]]:
    for workload in WORKLOADS:
        if workload.name in results:
            medians = results[workload.name]["medians"]
            for verdict in verdicts(workload.columns, workload.targets, workload.subject, medians):
                yield workload, verdict


def _workloads(results: Mapping[str, Any], folder: Path) -> Iterator[str]:
    for workload in WORKLOADS:
        if workload.name not in results:
            continue
        yield from (f"## {workload.name.upper()}: {workload.title}", "", f"[Table]({workload.name}.md)", "")
        pictures = [workload.name] if workload.bars else []
        pictures += [f"{workload.name}-{name.rpartition('_')[0]}" for name in workload.curves]
        yield from _pictures(pictures, folder)


def _growth(results: Mapping[str, Any], folder: Path) -> Iterator[str]:
    if "growth" not in results:
        return
    yield from ("## Growth", "", "[Tables](growth.md)", "")
    found = list(growth.steep(results["growth"]))
    for curve, title, slope in found:
        yield f"- {curve.title}: {title} has a slope of {slope:.2f}. {curve.why.get(title, '')}".rstrip()
    if not found:
        yield "No curve of haulier is steeper than flat."
    yield ""
    names = ["cost", "memory", *(curve.name for curve in CURVES[1:])]
    yield from _pictures([f"growth-{name}" for name in names], folder)


def _pictures(names: Sequence[str], folder: Path) -> Iterator[str]:
    for name in names:
        if (folder / f"{name}.svg").exists():
            yield from (f"![{name}]({name}.svg)", "")
