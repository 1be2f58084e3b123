"""``haulier bench``: run the scenario, draw its timeline, and print the report."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from rich.console import Console

from haulier._cli.arguments import UsageError
from haulier._cli.bench.course import Course, course
from haulier._cli.bench.lanes import draw
from haulier._cli.bench.measures import Measures, measure
from haulier._cli.bench.options import scenario_of
from haulier._cli.bench.real import run as run_for_real
from haulier._cli.bench.report import by_source, compared, comparison, summary
from haulier._cli.bench.scenario import Scenario
from haulier._cli.bench.simulated import SimulationStopped, simulate
from haulier._cli.display.text import counted, span_text
from haulier._cli.outlet import Outlet, stderr_line
from haulier._cli.signals import Stop
from haulier.verify import Violation, verify

__all__ = ["run"]

WIDEST: Final = 120
"""The greatest width of the timeline on a terminal, in columns."""
PLAIN: Final = 100
"""The width of the timeline if standard output is not a terminal, in columns."""
MOST_ROWS: Final = 20
"""Up to this many sources, each has a row in the report; with more, none has."""


def run(args: argparse.Namespace) -> int:
    """Run the scenario, print the report, and return the exit status.

    Raises ``UsageError`` if the options are invalid or a file cannot be written.
    """
    try:
        scenario = scenario_of(args)
    except ValueError as error:
        raise UsageError(str(error)) from None
    _check_files(args)
    with Stop() as stop, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        try:
            return _run(args, scenario, Outlet(sys.stdout), stop, Path(folder))
        except SimulationStopped:
            stderr_line("stopped before the end; there is no report")
            return stop.exit_status or 1
        except Violation as violation:
            stderr_line(f"a promise was broken: {violation}")
            return 1


def _check_files(args: argparse.Namespace) -> None:
    """Check that the files can be written, before the run takes its time.

    Raises ``UsageError`` if one cannot.
    """
    if args.timeline is not None:
        if Path(args.timeline).suffix.lower() not in (".png", ".svg"):
            raise UsageError(f"cannot draw {args.timeline!r}: --timeline needs FILE.png or FILE.svg")
        if find_spec("matplotlib") is None:
            raise UsageError("--timeline needs matplotlib; run: pip install 'haulier[bench]'")
    for name in (args.timeline, args.trace):
        if name is not None and not Path(name).parent.is_dir():
            raise UsageError(f"cannot write {name!r}: its folder does not exist")
        if name is not None and Path(name).is_dir():
            raise UsageError(f"cannot write {name!r}: it is a folder")


def _run(args: argparse.Namespace, scenario: Scenario, outlet: Outlet, stop: Stop, folder: Path) -> int:
    lines = list(simulate(scenario, f"simulated-{uuid4().hex[:8]}", lambda: stop.signum is not None))
    simulated = _course(lines, scenario)
    courses: list[Course] = []
    if args.simulate:
        _keep(args.trace, lines)
        courses = [simulated]
    else:
        runs = args.compare or 1
        if not args.json:
            _announce(scenario, runs, simulated.makespan_s, outlet)
        for number in range(runs):
            path = folder / f"{number}.trace"
            if not run_for_real(scenario, path, lambda: stop.signum is not None):
                raise SimulationStopped
            lines = path.read_text("utf-8").splitlines()
            _keep(args.trace, lines)
            courses.append(_course(lines, scenario))
    if args.timeline is not None:
        _picture(courses[-1], args.timeline, scenario, simulated=args.simulate)
    _print_report(args, scenario, simulated, courses, outlet)
    return int(outlet.is_broken)


def _course(lines: list[str], scenario: Scenario) -> Course:
    """Verify a trace and read its course. Raises ``Violation`` if it breaks a promise."""
    verify(lines)
    return course(lines, restart_s=scenario.restart_s, retry_s=scenario.retry_s)


def _announce(scenario: Scenario, runs: int, length_s: float, outlet: Outlet) -> None:
    work = f"{counted(scenario.downloads, 'download')} at {counted(scenario.sources, 'source')}"
    times = "" if runs == 1 else f", {runs} times"
    outlet.line(f"{work}, each takes {scenario.service}: about {span_text(runs * length_s)}{times and ' in all'}\n")


def _keep(path: str | None, lines: list[str]) -> None:
    if path is None:
        return
    try:
        with open(path, "a", encoding="utf-8") as trace:
            trace.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise UsageError(f"cannot write {path!r}: {(error.strerror or 'unknown error').lower()}") from None


def _picture(shown: Course, path: str, scenario: Scenario, *, simulated: bool) -> None:
    from haulier._cli.bench.picture import draw as paint

    kind = "simulated" if simulated else "a real run"
    try:
        paint(shown, path, f"{scenario.downloads:,} downloads at {counted(scenario.sources, 'source')}, {kind}")
    except OSError as error:
        raise UsageError(f"cannot write {path!r}: {(error.strerror or 'unknown error').lower()}") from None


def _print_report(
    args: argparse.Namespace, scenario: Scenario, simulated: Course, courses: list[Course], outlet: Outlet
) -> None:
    measures = [measure(each) for each in courses]
    if args.json:
        outlet.line(json.dumps(_as_dict(args, scenario, measure(simulated), measures)))
        return
    console = Console(file=outlet, highlight=False)  # type: ignore[arg-type]  # has all methods that rich uses
    width = min(console.width, WIDEST) if outlet.isatty() else PLAIN
    console.width = width
    for line in draw(courses[-1], width, encoding=outlet.encoding or "ascii"):
        console.print(line, no_wrap=True, crop=True)
    outlet.line("")
    if args.compare:
        console.print(comparison(list(compared(measure(simulated), measures)), len(measures)))
    else:
        for text in summary(measures[0]):
            console.print(text, soft_wrap=True)
        if 1 < scenario.sources <= MOST_ROWS:
            outlet.line("")
            console.print(by_source(measures[0]))
    outlet.line("\nEvery promise was kept (haulier verify).")


def _as_dict(
    args: argparse.Namespace, scenario: Scenario, simulated: Measures, measures: list[Measures]
) -> dict[str, Any]:
    """The report as a dict for JSON."""
    asked = asdict(scenario) | {"service": str(scenario.service)}
    if not args.compare:
        return {"scenario": asked, "simulated": args.simulate, "measures": measures[0].as_dict()}
    rows = {row.key: row._asdict() | {"within": row.is_within} for row in compared(simulated, measures)}
    for row in rows.values():
        del row["key"]
    return {"scenario": asked, "simulated": False, "runs": [each.as_dict() for each in measures], "compared": rows}
