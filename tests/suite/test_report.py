"""README and the pages of results show the measured figures; medians, tables and verdicts are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import growth, report
from benchmarks.figures import RESULTS, Column, Target, dumps, machine, median, quantiles, spread, table, verdicts
from benchmarks.growth_curves import CURVES
from benchmarks.harness import page_of, write
from benchmarks.w6 import W6


def test_the_readme_shows_what_the_files_of_results_say() -> None:
    assert report.table_in(report.README.read_text(encoding="utf-8")) == report.readme_table(report.load())


def test_every_page_says_what_its_file_of_results_says() -> None:
    results = report.load()
    pages = {workload.name: page_of(workload, results[workload.name]) for workload in report.WORKLOADS}
    for name, page in {**pages, "growth": growth.page_of(results["growth"])}.items():
        assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == page, name


def test_the_page_of_results_says_what_the_files_say(tmp_path: Path) -> None:
    for picture in RESULTS.glob("*.svg"):
        (tmp_path / picture.name).touch()
    assert report.write_page(report.load(), tmp_path).rstrip() == (RESULTS / "README.md").read_text("utf-8").rstrip()


def test_the_table_takes_each_value_from_its_row_and_marks_the_best() -> None:
    results = {
        "w1": {"medians": {"threads": {"wall_us": 80.0}, "haulier": {"wall_us": 4.0}}},
        "w5": {"medians": {"pool": {"patches_per_s": 9.0}, "haulier": {"patches_per_s": 7.0}}},
        "w7": {"medians": {"huey-sqlite": {"wall_us": 900.0}, "durable": {"wall_us": 99.0},
                           "durable:many": {"wall_us": 9.0}, "threads": {"wall_us": 1.0}}},
    }  # fmt: skip
    lines = {cells[0]: cells[1:] for cells in map(_cells, report.readme_table(results).splitlines())}
    head = lines[""]
    assert head == ["threads", "pool", "asyncio", "dramatiq", "huey", "haulier"]
    assert lines["an instant download in total, µs"] == ["80.0", "", "", "", "", "**4.0**"]
    assert lines["progress patches per second"] == ["", "**9**", "", "", "", "7"]
    assert lines["an instant download on disk, µs"] == ["", "", "", "", "900", "**99**"]
    assert lines["an instant download on disk, in bulk, µs"] == ["", "", "", "", "", "9"]
    assert len(lines) == 6


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_only_what_is_between_the_comments_is_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    report.write_readme({"w1": {"medians": {"haulier": {"wall_us": 4.0}}}}, page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{report.BEGIN}\n|")
    assert text.endswith(f"|\n{report.END}\nafter\n")
    assert "old" not in text


def test_every_target_names_a_column_and_every_bar_and_curve_a_value() -> None:
    for workload in report.WORKLOADS:
        assert {target.title for target in workload.targets} <= {column.title for column in workload.columns}
        assert {target.row or workload.subject for target in workload.targets} <= set(workload.contenders)
        keys = {column.key for column in workload.columns}
        assert not workload.bars or workload.bars in keys
        assert all(f"{name}@50" in keys for name in workload.curves)
        assert set(workload.sizes) == set(workload.smoke_sizes)
        assert {*workload.quick_sizes, *workload.traced_sizes} <= set(workload.sizes)
        assert {row.partition(":")[2] for row in workload.contenders} <= {"", *workload.modes}
        assert workload.file.is_file()


def test_quantiles_are_values_that_occurred() -> None:
    found = quantiles("x_us", [5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found["x_us@0"], found["x_us@50"], found["x_us@100"]) == (1.0, 3.0, 5.0)
    assert set(found.values()) == {1.0, 2.0, 3.0, 4.0, 5.0}


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        (Target("x threads", at_least=8), 8.0, "met"),
        (Target("x threads", at_least=8), 4.0, "missed, 50 % too little"),
        (Target("µs", at_most=50), 50.0, "met"),
        (Target("µs", at_most=50), 75.0, "missed, 50 % too much"),
        (Target("lost", at_most=0), 1.0, "missed, not 0"),
    ],
)
def test_a_verdict_says_how_far_a_target_is_missed(target: Target, value: float, said: str) -> None:
    column = Column(target.title, "key")
    [verdict] = verdicts([column], [target], "haulier", {"haulier": {"key": value}})
    assert str(verdict).endswith(f": {said}")
    assert verdict.is_met is (said == "met")


def test_a_ratio_is_above_one_where_the_row_is_better() -> None:
    columns = [
        Column("x threads", "us", ".1f", against="threads"),
        Column("x threads, rate", "per_s", ".1f", against="threads", less_is_better=False),
        Column("x pool", "us", ".1f", against="pool"),
    ]
    lines = table(columns, {"threads": {"us": 9.0, "per_s": 2.0}, "haulier": {"us": 3.0, "per_s": 8.0}})
    assert _cells(lines[-1]) == ["haulier", "3.0", "4.0", "-"]


def test_a_contender_that_died_has_no_figures_and_is_named(tmp_path: Path) -> None:
    one = {column.key: 2.0 for column in W6.columns}
    results = {"sizes": {"queued": 5}, "machine": machine(), "command": "", "died": {"pool": "run 1: gone"},
               "medians": {"pool": median([]), "haulier": one}, "spread": {"pool": spread([]), "haulier": {}},
               "runs": {"pool": [], "haulier": [one]}}  # fmt: skip
    page = write(W6, results, tmp_path)
    assert "- pool died in run 1: gone" in page
    [line] = [line for line in page.splitlines() if line.startswith("| pool")]
    assert set(_cells(line)[1:]) == {"-"}


def test_medians_and_spread_are_filed_and_read_back() -> None:
    samples = [{"us": 3.0}, {"us": 1.0}, {"us": 2.0}]
    results: dict[str, Any] = {"medians": {"pool": median(samples)}, "spread": {"pool": spread(samples)}}
    assert json.loads(dumps(results)) == {"medians": {"pool": {"us": 2.0}}, "spread": {"pool": {"us": [1.0, 3.0]}}}


@pytest.mark.parametrize(("power", "slope"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_a_slope_is_the_power_with_which_a_cost_grows(power: float, slope: float) -> None:
    assert growth.slope({x: 7.0 * x**power for x in (1, 10, 100, 1000)}) == pytest.approx(slope)


def test_a_steep_curve_is_named_and_a_flat_one_is_not() -> None:
    curve = CURVES[0]
    flat = {str(x): {"dispatch_us": 1.0, "cancel_us": 2.0, "run_us": 3.0} for x in curve.points}
    assert not list(growth.steep({"points": {curve.name: {"haulier": flat}}}))
    for x, sample in flat.items():
        sample["cancel_us"] = float(x) ** 0.5
    [(found, title, slope)] = growth.steep({"points": {curve.name: {"haulier": flat}}})
    assert (found, title) == (curve, "cancel µs")
    assert slope == pytest.approx(0.5)
