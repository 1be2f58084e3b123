"""What all workloads share: a fresh process per run, contenders in turn, medians, a table, a file of results.

A workload is a module with one function that measures one contender in this process and returns a ``Sample``; ``main``
makes a command of it. The command starts itself again for each run (``--measure``) and reads one line of JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.contenders import CONTENDERS, IN_MEMORY, TRACE, Contender, hire

__all__ = [
    "RESULTS", "Column", "Sample", "Stopwatch", "Target", "Workload", "describe_machine", "machine", "main", "positive",
]  # fmt: skip

RESULTS: Final = Path(__file__).resolve().parent / "results"

RUN_TIMEOUT_S: Final = 300.0

Sample: TypeAlias = dict[str, float]
"""What one run measured, by name; the unit is in the name (``wall_us``, ``downloads_per_s``)."""


@dataclass(frozen=True)
class Column:
    """One column of the table: the median of ``key``, or, with ``against``, its ratio to another contender's.

    A ratio is above 1 where the contender of the row is better: less where ``less_is_better``, else more.
    """

    title: str
    key: str
    format: str = ".1f"
    against: str | None = None
    less_is_better: bool = True


@dataclass(frozen=True)
class Target:
    """What haulier should reach: its cell in the column ``title`` is ``at_least`` or ``at_most``."""

    title: str
    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True)
class Workload:
    """One file of benchmarks/. ``sizes``: its options and their defaults; ``smoke_sizes``: those of ``--smoke``.

    ``subject``: the contender that the targets are for, and whose trace is verified.
    """

    name: str
    title: str
    measure: Callable[[Contender, Mapping[str, int]], Sample]
    columns: Sequence[Column]
    targets: Sequence[Target]
    sizes: Mapping[str, int]
    smoke_sizes: Mapping[str, int]
    contenders: Sequence[str] = IN_MEMORY
    subject: str = "haulier"


class Stopwatch:
    """Wall time, CPU time of all threads, and thread switches, from ``__init__`` to ``stop``."""

    def __init__(self) -> None:
        gc.collect()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self._wall_s

    def stop(self) -> Sample:
        wall_s = self.wall_s
        cpu_s = time.process_time() - self._cpu_s
        usage = resource.getrusage(resource.RUSAGE_SELF)
        switches = usage.ru_nvcsw + usage.ru_nivcsw - self._usage.ru_nvcsw - self._usage.ru_nivcsw
        return {"wall_s": wall_s, "cpu_s": cpu_s, "switches": switches, "peak_rss_kib": usage.ru_maxrss}


def main(workload: Workload, arguments: Sequence[str] | None = None) -> int:
    """The command of a workload. Returns the exit code: 0 unless a run failed. A missed target is not a failure."""
    options = _parser(workload).parse_args(arguments)
    sizes = {name: getattr(options, name) for name in workload.sizes}
    if options.smoke:
        sizes = {name: min(sizes[name], small) for name, small in workload.smoke_sizes.items()}
    if options.measure:
        _measure_here(workload, options.measure, sizes)
        return 0
    runs = 1 if options.smoke else options.runs
    samples: dict[str, list[Sample]] = {name: [] for name in options.contenders}
    for number, name in _in_turn(options.contenders, runs):
        try:
            samples[name].append(_measure_fresh(name, sizes))
        except RunError as exc:
            print(f"{workload.name}: {name}, run {number}: {exc}", file=sys.stderr)
            return 1
        if options.smoke:
            print(f"{workload.name}: {name}: ok ({_describe(sizes)})")
        else:
            print(f"{workload.name}: run {number} of {runs}: {name}", file=sys.stderr)
    if workload.subject in options.contenders:
        _verify_traced(workload, sizes)
    if not options.smoke:
        _report(workload, sizes, samples)
    return 0


def _verify_traced(workload: Workload, sizes: Mapping[str, int]) -> None:
    """The same once more, off the clock, with a trace: raises ``haulier.verify.Violation`` for a broken promise."""
    from haulier.verify import verify  # only here: no contender's process is to import it

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        _measure_fresh(workload.subject, sizes, {**os.environ, TRACE: str(path)})
        with path.open(encoding="utf-8") as lines:
            report = verify(lines)
    print(
        f"{workload.name}: {workload.subject}, traced: {report.downloads:,} downloads, no promise broken",
        file=sys.stderr,
    )


class RunError(Exception):
    """A contender's process did not do what it was asked to."""


def _parser(workload: Workload) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=f"{workload.name}: {workload.title}")
    for name, default in workload.sizes.items():
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"default: {default:,}")
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="of each contender; default: 5")
    parser.add_argument(
        "--contenders", type=_names, default=list(workload.contenders), metavar="A,B", help=f"of {','.join(CONTENDERS)}"
    )
    parser.add_argument("--smoke", action="store_true", help="small, once, nothing timed and nothing written")
    parser.add_argument("--measure", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CONTENDERS:
            raise argparse.ArgumentTypeError(f"no contender {name!r}: there are {', '.join(CONTENDERS)}")
    return names


def _in_turn(names: Sequence[str], runs: int) -> Iterator[tuple[int, str]]:
    """Every contender once per round; each round starts with another one, so that nobody always runs first."""
    for number in range(runs):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            yield number + 1, name


def _measure_here(workload: Workload, name: str, sizes: Mapping[str, int]) -> None:
    contender = hire(name)
    sample = workload.measure(contender, sizes)
    contender.close()
    print(json.dumps(sample))


def _measure_fresh(name: str, sizes: Mapping[str, int], environment: Mapping[str, str] | None = None) -> Sample:
    command = [sys.executable, sys.argv[0], "--measure", name]
    command += [f"--{option}={value}" for option, value in sizes.items()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, env=environment)
    except subprocess.TimeoutExpired:
        raise RunError(f"not done after {RUN_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        raise RunError(f"exit code {done.returncode}\n{done.stderr.rstrip()}")
    sample: Sample = json.loads(done.stdout)
    return sample


def _report(workload: Workload, sizes: Mapping[str, int], samples: Mapping[str, Sequence[Sample]]) -> None:
    medians = {name: _median(of_one) for name, of_one in samples.items()}
    table = _table(workload.columns, medians)
    verdicts = [f"- {line}" for line in _verdicts(workload, medians)]
    runs = len(next(iter(samples.values())))
    command = shlex.join(["python", f"benchmarks/{workload.name}.py", *sys.argv[1:]])
    here = machine()
    page = [
        f"# {workload.name.upper()}: {workload.title}",
        "",
        f"{_describe(sizes)}; medians of {runs} runs each, every run in a fresh process.",
        f"{describe_machine(here)}; `{command}`.",
        "",
        *table,
        "",
        *verdicts,
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{workload.name}.md").write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
    results = {
        "workload": workload.name,
        "title": workload.title,
        "command": command,
        "machine": here,
        "sizes": dict(sizes),
        "medians": medians,
        "spread": {name: _spread(of_one) for name, of_one in samples.items()},
        "runs": {name: list(of_one) for name, of_one in samples.items()},
    }
    (RESULTS / f"{workload.name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("\n".join(page))


def _median(samples: Sequence[Sample]) -> Sample:
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def _spread(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """The least and the most of each value."""
    return {key: (min(sample[key] for sample in samples), max(sample[key] for sample in samples)) for key in samples[0]}


def _cell(column: Column, name: str, medians: Mapping[str, Sample]) -> float | None:
    value = medians[name][column.key]
    if column.against is None:
        return value
    if column.against not in medians:
        return None
    other = medians[column.against][column.key]
    return other / value if column.less_is_better else value / other


def _table(columns: Sequence[Column], medians: Mapping[str, Sample]) -> list[str]:
    """The lines of a Markdown table, its columns aligned."""
    rows = [["contender", *(column.title for column in columns)]]
    for name in medians:
        cells = [_cell(column, name, medians) for column in columns]
        rows.append(
            [
                name,
                *(
                    "-" if cell is None else format(cell, column.format)
                    for cell, column in zip(cells, columns, strict=True)
                ),
            ]
        )
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return [lines[0], rule, *lines[1:]]


def _verdicts(workload: Workload, medians: Mapping[str, Sample]) -> Iterator[str]:
    if workload.subject not in medians:
        return
    columns = {column.title: column for column in workload.columns}
    for target in workload.targets:
        column = columns[target.title]
        value = _cell(column, workload.subject, medians)
        if value is not None:
            verdict = "met" if target.met_by(value) else "missed"
            yield f"{workload.subject}, {target.title}: {value:{column.format}}, target {target}: {verdict}"


def _describe(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in sizes.items())


def describe_machine(here: Mapping[str, Any]) -> str:
    """One line of a page of results."""
    return (
        f"{here['cpu_count']} CPUs ({here['cpu']}), {here['implementation']} {here['python']}, "
        f"{here['system']}; {here['date']}"
    )


def machine() -> dict[str, Any]:
    """Where and when, and how busy it is: for the file of results."""
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
