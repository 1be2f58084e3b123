"""What all workloads share: a fresh process per run, contenders in turn, and the comparison with targets.

A workload is a module with one function that measures one contender in this process and returns a ``Sample``; ``main``
makes a command of it. The command starts its file again for each run (``--measure``) and reads one line of JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.clients import peak_rss_kib
from benchmarks.contenders import CONTENDERS, IN_MEMORY, TRACE, hire, is_here
from benchmarks.figures import (
    Column,
    Sample,
    Target,
    describe_machine,
    describe_sizes,
    dumps,
    folder_for,
    machine,
    median,
    spread,
    table,
    verdicts,
)
from benchmarks.fresh import RunError, command, measure_fresh

__all__ = ["Column", "Sample", "Stopwatch", "Target", "Workload", "main", "page_of", "positive", "run", "write"]

Measure: TypeAlias = Callable[[Any, Mapping[str, int]], Sample]


def _lacks(name: str) -> str | None:
    return None if is_here(name) else "is not installed"


@dataclass(frozen=True)
class Workload:
    """One file of benchmarks/, called ``name``. ``sizes``: its options and their defaults.

    - ``smoke_sizes``, ``quick_sizes``, ``traced_sizes``: those of ``--smoke``, ``--quick`` and the verified run.
    - ``contenders``: the rows. ``"durable:many"`` is the contender ``durable``, measured by ``modes["many"]``.
    - ``others``: further contenders that ``--contenders`` may name.
    - ``subject``: the row that the targets are for, and whose trace is verified.
    - ``hire``: makes a contender from its name. ``lacks``: why one cannot be measured here; None if it can.
    - ``notes``: lines of Markdown that the page shows before the table, such as versions; called once for each file.
    - ``bars``: the column to show as bars (its key). ``curves``: the distributions to show, by name, with a title.
    """

    name: str
    title: str
    measure: Measure
    columns: Sequence[Column]
    targets: Sequence[Target]
    sizes: Mapping[str, int]
    smoke_sizes: Mapping[str, int]
    quick_sizes: Mapping[str, int] = field(default_factory=dict)
    traced_sizes: Mapping[str, int] = field(default_factory=dict)
    contenders: Sequence[str] = IN_MEMORY
    others: Collection[str] = tuple(CONTENDERS)
    modes: Mapping[str, Measure] = field(default_factory=dict)
    subject: str = "haulier"
    bars: str = ""
    curves: Mapping[str, str] = field(default_factory=dict)
    hire: Callable[[str], Any] = hire
    lacks: Callable[[str], str | None] = _lacks
    notes: Callable[[], Sequence[str]] = tuple

    @property
    def file(self) -> Path:
        return Path(__file__).resolve().parent / f"{self.name}.py"


class Stopwatch:
    """Wall time, CPU time of all threads, and thread switches, from ``__init__`` to ``stop``."""

    def __init__(self) -> None:
        gc.collect()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """The seconds since the stopwatch was made."""
        return time.perf_counter() - self._wall_s

    def stop(self) -> Sample:
        wall_s = self.wall_s
        cpu_s = time.process_time() - self._cpu_s
        usage = resource.getrusage(resource.RUSAGE_SELF)
        switches = usage.ru_nvcsw + usage.ru_nivcsw - self._usage.ru_nvcsw - self._usage.ru_nivcsw
        return {"wall_s": wall_s, "cpu_s": cpu_s, "switches": switches, "peak_rss_kib": peak_rss_kib()}


def main(workload: Workload, arguments: Sequence[str] | None = None) -> int:
    """The command of a workload. Returns the exit code: 0 unless a run failed. A missed target is not a failure."""
    options = _parser(workload).parse_args(arguments)
    sizes = {name: getattr(options, name) for name in workload.sizes}
    if options.measure:
        _measure_here(workload, options.measure, sizes)
        return 0

    def measure() -> int:
        results = run(workload, options.contenders, sizes, options.runs, smoke=options.smoke)
        if results["runs"] and not options.smoke:
            results["command"] = shlex.join(["python", f"benchmarks/{workload.file.name}", *sys.argv[1:]])
            folder = folder_for(sizes == workload.sizes and options.contenders == list(workload.contenders))
            print(write(workload, results, folder))
            print(f"{folder / workload.name}.md", file=sys.stderr)
        return 0

    return command(measure)


def run(
    workload: Workload, rows: Sequence[str], sizes: Mapping[str, int], runs: int, *, smoke: bool = False
) -> dict[str, Any]:
    """Measure all rows in turn, and verify a trace of the subject. Returns the results as they are filed.

    Raises ``RunError`` if the subject fails, and ``haulier.verify.Violation`` for a broken promise. The failure of
    another contender is noted. ``smoke`` measures small sizes once, prints a line for what works, and raises for every
    failure.
    """
    if smoke:
        sizes, runs = {name: min(sizes[name], small) for name, small in workload.smoke_sizes.items()}, 1
    here = machine()
    asked, rows = rows, []
    for row in asked:
        why = workload.lacks(row.partition(":")[0])
        if why is None:
            rows.append(row)
        else:
            print(f"{workload.name}: {row}: left out, it {why}", file=sys.stderr)
    samples: dict[str, list[Sample]] = {row: [] for row in rows}
    died: dict[str, str] = {}
    for number, row in _in_turn(rows, runs):
        try:
            samples[row].append(measure_row(workload, row, sizes))
        except RunError as exc:
            if smoke or row == workload.subject:
                raise RunError(f"{workload.name}: {row}, run {number}: {exc}") from None
            died[row] = f"run {number}: {exc}".splitlines()[0]
        if smoke:
            print(f"{workload.name}: {row}: ok ({describe_sizes(sizes)})")
        else:
            print(f"{workload.name}: run {number} of {runs}: {row}", file=sys.stderr)
    if workload.subject in rows:
        few = {name: min(size, workload.traced_sizes.get(name, size)) for name, size in sizes.items()}
        _verify_traced(workload, few)
    return {
        "workload": workload.name,
        "title": workload.title,
        "command": "",
        "machine": here,
        "sizes": dict(sizes),
        "notes": list(workload.notes()),
        "died": died,
        "medians": {row: median(of_one) for row, of_one in samples.items()},
        "spread": {row: spread(of_one) for row, of_one in samples.items()},
        "runs": samples,
    }


def write(workload: Workload, results: Mapping[str, Any], folder: Path) -> str:
    """Write the files of results of one workload. Returns the page."""
    page = page_of(workload, results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{workload.name}.md").write_text(page, encoding="utf-8")
    (folder / f"{workload.name}.json").write_text(dumps(results), encoding="utf-8")
    return page


def page_of(workload: Workload, results: Mapping[str, Any]) -> str:
    """Make the page of a workload from its file of results."""
    medians = results["medians"]
    runs = max(len(of_one) for of_one in results["runs"].values())
    notes = [*results["notes"], ""] if results.get("notes") else []
    died = [f"- {row} died in {how}" for row, how in results.get("died", {}).items()]
    said = [f"- {line}" for line in verdicts(workload.columns, workload.targets, workload.subject, medians)]
    page = "\n".join(
        [
            f"# {workload.name.upper()}: {workload.title}",
            "",
            f"{describe_sizes(results['sizes'])}; medians of {runs} runs each, every run in a fresh process.",
            f"{describe_machine(results['machine'])}; `{results['command']}`.",
            "",
            *notes,
            *table(workload.columns, medians),
            "",
            *said,
            *died,
        ]
    )
    return page.rstrip() + "\n"


def _verify_traced(workload: Workload, sizes: Mapping[str, int]) -> None:
    """Repeat the run with a trace, without timing it. Raises ``haulier.verify.Violation`` for a broken promise."""
    from haulier.verify import verify  # here: processes of contenders must not import it

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        measure_row(workload, workload.subject, sizes, {**os.environ, TRACE: str(path)})
        with path.open(encoding="utf-8") as lines:
            report = verify(lines)
    print(
        f"{workload.name}: {workload.subject}, traced: {report.downloads:,} downloads, no promise broken",
        file=sys.stderr,
    )


def _parser(workload: Workload) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=f"{workload.name}: {workload.title}")
    for name, default in workload.sizes.items():
        parser.add_argument(
            f"--{name}", dest=name, type=positive, default=default, metavar="N", help=f"default: {default:,}"
        )
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="of each contender; default: 5")
    rows = ",".join(workload.contenders)
    parser.add_argument(
        "--contenders",
        type=partial(_names, workload),
        default=list(workload.contenders),
        metavar="A,B",
        help=f"default: {rows}",
    )
    parser.add_argument("--smoke", action="store_true", help="small, once, nothing timed and nothing written")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _names(workload: Workload, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    known = [*workload.contenders, *(name for name in workload.others if name not in workload.contenders)]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no contender {name!r}: there are {', '.join(known)}")
    return names


def _in_turn(names: Sequence[str], runs: int) -> Iterator[tuple[int, str]]:
    """Run every contender once per round. Each round starts with a different one, so that none is always first."""
    for number in range(runs):
        first = number % max(1, len(names))
        for name in [*names[first:], *names[:first]]:
            yield number + 1, name


def _measure_here(workload: Workload, row: str, sizes: Mapping[str, int]) -> None:
    name, _, mode = row.partition(":")
    contender = workload.hire(name)
    sample = (workload.modes[mode] if mode else workload.measure)(contender, sizes)
    contender.close()
    print(json.dumps(sample))


def measure_row(
    workload: Workload, row: str, sizes: Mapping[str, int], environment: Mapping[str, str] | None = None
) -> Sample:
    """Do one run in a process of its own."""
    options = [f"--{option}={value}" for option, value in sizes.items()]
    return measure_fresh(workload.file, ["--measure", row, *options], environment)
