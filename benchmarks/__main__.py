"""``python -m benchmarks``: run every workload and the growth curves; write pictures, pages and README's table."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks import growth, report
from benchmarks.figures import QUICK, RESULTS
from benchmarks.fresh import RunError, command
from benchmarks.harness import positive, run, write

__all__ = ["main"]

NAMES: Final = (*(workload.name for workload in report.WORKLOADS), "growth")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 unless a contender failed. A missed target is not a failure."""
    parser = _parser()
    options = parser.parse_args(arguments)
    folder: Path = options.out or (QUICK if options.quick else RESULTS)
    if not options.smoke:  # before it measures for half an hour
        if find_spec("matplotlib") is None:
            parser.error("the pictures need matplotlib: pip install --group bench")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            parser.error(f"--out: {exc}")
    said = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if arguments is None else arguments)])

    def measure_and_report() -> int:
        if not options.report:
            _measure(options, folder, said)
        if not options.smoke:
            _report(folder)
        return 0

    return command(measure_and_report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="every workload, and what came of it")
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="of each contender; default: 5")
    parser.add_argument("--quick", action="store_true", help="smaller, once, two minutes; written to results/quick")
    parser.add_argument(
        "--smoke", action="store_true", help="small, once: check that everything still runs; nothing is written"
    )
    parser.add_argument(
        "--report", action="store_true", help="measure nothing: make pages and pictures from the files of results"
    )
    parser.add_argument("--only", type=_names, default=list(NAMES), metavar="A,B", help=f"of {','.join(NAMES)}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: benchmarks/results")
    return parser


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"no workload {name!r}: there are {', '.join(NAMES)}")
    return names


def _measure(options: argparse.Namespace, folder: Path, command: str) -> None:
    runs = 1 if options.quick or options.smoke else options.runs
    for workload in report.WORKLOADS:
        if workload.name not in options.only:
            continue
        sizes = {**workload.sizes, **(workload.quick_sizes if options.quick else {})}
        results = run(workload, workload.contenders, sizes, runs, smoke=options.smoke)
        results["command"] = command
        if results["runs"] and not options.smoke:
            print(write(workload, results, folder), end="\n\n")
    if "growth" in options.only:
        size = "smoke" if options.smoke else "quick" if options.quick else "full"
        grown = growth.run(min(runs, 3), size=size)
        grown["command"] = command
        if not options.smoke:
            print(growth.write(grown, folder))


def _report(folder: Path) -> None:
    from benchmarks.pictures import draw  # the only use of matplotlib

    results = report.load(folder)
    if not results:
        raise RunError(f"no files of results in {folder}")
    filed = [(workload, results[workload.name]) for workload in report.WORKLOADS if workload.name in results]
    draw(filed, results.get("growth"), folder)
    report.write_tables(results, folder)
    report.write_page(results, folder)
    if folder == RESULTS:
        report.write_readme(results)
    print(f"{folder / 'README.md'}")


if __name__ == "__main__":
    sys.exit(main())
