"""The soak: a million downloads of every kind through one engine in one process. Does anything grow, or slow down?

See README.md. The exit code is 1 if a value grows too much, or a download did not end as it had to.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import resource
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.daemon import GUARD_S, Daemon, lands, pause
from benchmarks.figures import describe_machine, folder_for, machine
from benchmarks.fresh import command
from benchmarks.harness import positive
from haulier import DownloadEngine, Retention
from haulier._engine.core.departed import MOST_DEPARTED
from haulier._engine.shells.ids import new_id
from haulier._engine.ticket import ID, make_success, make_ticket
from haulier.verify import verify

DOWNLOADS: Final = 1_000_000

SMOKE: Final = 10_000

IDLE_S: Final = 0.05
"""The engine's idle_timeout: short, so that threads come and go all the time."""


@dataclass
class Tenth:
    """One tenth of the run, or the warm-up: its cost, and the counts after all its downloads had ended."""

    name: str
    downloads: int
    """Since the beginning of the warm-up."""
    wall_us: float
    """Per download."""
    cpu_us: float
    """Per download, of all threads."""
    probe_us: float
    """CPU per download in the best of many bursts of instant downloads, while nothing else runs."""
    rss_bytes: int
    blocks: int
    """Blocks that CPython's allocator has given out and not received back."""
    gc_objects: int
    """Objects that the cycle collector tracks."""
    threads: int
    """Counted after the idle sources have given their threads back."""
    peak_threads: int
    fds: int
    load_1min: float


@dataclass
class Bound:
    """How much a value may grow from the warm-up, or from the first tenth, to the last tenth."""

    what: str
    grew: float
    at_most: float
    why: str
    format: str = "+,.0f"

    @property
    def holds(self) -> bool:
        return self.grew <= self.at_most

    def __str__(self) -> str:
        grew, at_most = format(self.grew, self.format), format(self.at_most, self.format)
        return f"{self.what}: {grew}, at most {at_most} ({self.why}): {'flat' if self.holds else 'NOT FLAT'}"


class Log(logging.Handler):
    """Formats what a daemon would log, with tracebacks, and discards it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines = 0
        for name in ("haulier", "pykka"):
            logging.getLogger(name).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += self.format(record).count("\n") + 1


# ---- what is there ---------------------------------------------------------------------------------------------------


def rss_bytes() -> int:
    """Return the resident memory; the peak so far if the system does not tell the present value."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return pages * resource.getpagesize()


def blocks() -> int:
    return sys.getallocatedblocks() if hasattr(sys, "getallocatedblocks") else 0


def collect() -> None:
    """Collect twice: a tuple is untracked only after all its items, so a nested one takes a second collection."""
    gc.collect()
    gc.collect()


def wait_for_threads(count: int) -> None:
    """Wait until the idle sources have given their threads back. Threads that remain are counted."""
    deadline = time.monotonic() + GUARD_S
    while threading.active_count() > count and time.monotonic() < deadline:
        pause(0.01)


# ---- the run ---------------------------------------------------------------------------------------------------------


def _fill_short_records(engine: DownloadEngine) -> None:
    """Fill the bounded store of short records, as a daemon does in its first hours. What grows later is a leak."""
    departed = engine._system.ledger.table.departed
    for number in range(MOST_DEPARTED):
        ticket = make_ticket(new_id(), "before")
        departed.add("before", ticket[ID], make_success(ticket, 1, 0.0, "downloads/instant.bin", float(number), None))


class Soak:
    """Runs one engine for a warm-up and ten tenths of equal length."""

    def __init__(self, downloads: int, trace: Path | None = None) -> None:
        self.tenth = max(downloads // 10, 1_000) // 1_000 * 1_000
        retention = Retention(max_terminal=min(10_000, self.tenth // 2))  # full at the end of each tenth
        self.engine = DownloadEngine(retention=retention, idle_timeout=IDLE_S, trace=trace)
        _fill_short_records(self.engine)
        self.daemon = Daemon(self.engine, self.tenth)
        self.tenths: list[Tenth] = []
        self._threads = threading.active_count()

    def run(self) -> None:
        for number in range(11):
            self.tenths.append(self._one(f"{number}" if number else "warm-up"))
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def _one(self, name: str) -> Tenth:
        daemon = self.daemon
        before, daemon.peak_threads = daemon.fed, 0
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        daemon.feed(self.tenth, self._show)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        count = daemon.fed - before
        probe_us = daemon.probe()
        ends = daemon.ends()
        if ends != daemon.expected:
            raise AssertionError(f"it should have been {daemon.expected}, and was {ends}")
        wait_for_threads(self._threads)
        collect()
        return Tenth(
            name=name,
            downloads=daemon.fed,
            wall_us=1e6 * wall_s / count,
            cpu_us=1e6 * cpu_s / count,
            probe_us=probe_us,
            rss_bytes=rss_bytes(),
            blocks=blocks(),
            gc_objects=len(gc.get_objects()),
            threads=threading.active_count(),
            peak_threads=daemon.peak_threads,
            fds=len(os.listdir("/dev/fd")),
            load_1min=round(os.getloadavg()[0], 2),
        )

    def _show(self, fed: int) -> None:
        tenth = f"tenth {len(self.tenths)} of 10" if self.tenths else "warm-up"
        line = f"soak: {tenth}, {fed:,} of {self.tenth:,}, {rss_bytes() / 2**20:.0f} MiB"
        if sys.stderr.isatty():
            print(f"\r{line:78}", end="", file=sys.stderr, flush=True)
        elif fed == 0:
            print(line, file=sys.stderr)

    def bytes_per_idle_source(self, names: int) -> float:
        """Return the memory that a source keeps whose name is used only once."""
        before = rss_bytes()
        for number in range(names):
            last = self.engine.worker.dispatch(f"host-{number}.test", number, "A song", "song.bin", lands)
            if number % 50 == 0:
                self.engine.wait(last, GUARD_S)
        self.engine.wait(last, GUARD_S)
        wait_for_threads(self._threads)
        collect()
        return (rss_bytes() - before) / names


def bounds(tenths: Sequence[Tenth], *, timed: bool) -> Iterator[Bound]:
    """Return the bounds. They are generous, and still far below the growth of the smallest leak."""
    warm, first, last = tenths[0], tenths[1], tenths[-1]
    downloads = last.downloads - warm.downloads
    yield Bound(
        "resident memory, MiB", (last.rss_bytes - warm.rss_bytes) / 2**20, 8.0,
        "of a million downloads, 8 bytes each: a pointer", "+.1f",
    )  # fmt: skip
    yield Bound(
        "allocated blocks", last.blocks - warm.blocks, max(16_000, downloads // 100),
        "one left behind by each hundredth download",
    )  # fmt: skip
    yield Bound(
        "objects of the cycle collector", last.gc_objects - warm.gc_objects, max(3_000, downloads // 400),
        "17 for each new source name are known",
    )  # fmt: skip
    yield Bound("threads", last.threads - warm.threads, 0, "idle sources give theirs back")
    yield Bound("open files", last.fds - warm.fds, 0, "none is opened")
    if timed:
        yield Bound(
            "CPU per instant download, best of many bursts, from the first tenth to the last, %",
            100 * (last.probe_us / first.probe_us - 1), 25, "the best is what a busy machine disturbs least", "+.1f",
        )  # fmt: skip
        yield Bound(
            "CPU per download of every kind, from the first tenth to the last, %",
            100 * (last.cpu_us / first.cpu_us - 1), 100,
            "a busy machine is worth half of it; work that grows with the number of downloads, a multiple", "+.1f",
        )  # fmt: skip


def run_traced() -> tuple[int, list[Bound]]:
    """Run the same mix in small, and verify its trace. Raises ``Violation`` for a broken promise."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        soak = Soak(SMOKE, path)
        soak.run()
        soak.engine.close()
        with path.open(encoding="utf-8") as lines:
            return verify(lines).downloads, list(bounds(soak.tenths, timed=False))


# ---- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description="soak: does anything grow, or slow down, over a million downloads?")
    parser.add_argument(
        "--downloads", type=positive, default=DOWNLOADS, metavar="N", help=f"after the warm-up; default: {DOWNLOADS:,}"
    )
    parser.add_argument("--smoke", action="store_true", help="small, once, nothing timed and nothing written")
    options = parser.parse_args()
    log = Log()
    if options.smoke:
        verified, flat = run_traced()
        for bound in flat:
            if not bound.holds:
                print(f"soak: {bound}", file=sys.stderr)
        print(f"soak: {verified:,} downloads, traced, no promise broken")
        return 0 if all(bound.holds for bound in flat) else 1
    here = machine()
    soak = Soak(options.downloads)
    soak.run()
    soak.daemon.counts["lines of log formatted"] = log.lines
    per_source = soak.bytes_per_idle_source(10_000)
    soak.engine.close()
    verified, _ = run_traced()
    flat = list(bounds(soak.tenths, timed=True))
    _report(soak, here, flat, per_source, verified, folder_for(options.downloads == DOWNLOADS))
    return 0 if all(bound.holds for bound in flat) else 1


def _report(
    soak: Soak, here: dict[str, Any], flat: Sequence[Bound], per_source: float, verified: int, folder: Path
) -> None:
    said = shlex.join(["python", "benchmarks/soak.py", *sys.argv[1:]])
    done = soak.tenths[-1].downloads - soak.tenths[0].downloads
    page = [
        f"# Soak: {done:,} downloads of every kind through one engine",
        "",
        f"After a warm-up of {soak.tenths[0].downloads:,}; one process, idle_timeout {IDLE_S:g} s. "
        f"{describe_machine(here)}; load {here['load_1min']:g} before; `{said}`.",
        "",
        *_table(soak.tenths),
        "",
        *(f"- {bound}" for bound in flat),
        "",
        f"All downloads ended as they had to: {_listed(soak.daemon.expected)}.",
        f"Among them and beside them: {_listed(soak.daemon.counts)}.",
        "",
        f"A source that is idle, under a name that never comes again, keeps {per_source:,.0f} bytes (of 10,000 names).",
        f"The same mix with a trace, {verified:,} downloads: no promise broken.",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    results = {
        "workload": "soak",
        "command": said,
        "machine": here,
        "downloads": done,
        "warm_up": soak.tenths[0].downloads,
        "tenths": [asdict(tenth) for tenth in soak.tenths],
        "bounds": [{**asdict(bound), "holds": bound.holds} for bound in flat],
        "ends": dict(soak.daemon.expected),
        "counts": dict(soak.daemon.counts),
        "bytes_per_idle_source": per_source,
        "verified": verified,
    }
    (folder / "soak.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("\n".join(page))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))


COLUMNS: Final[Mapping[str, Callable[[Tenth], str]]] = {
    "tenth": lambda t: t.name,
    "downloads": lambda t: f"{t.downloads:,}",
    "µs/download": lambda t: f"{t.wall_us:.1f}",
    "CPU µs/download": lambda t: f"{t.cpu_us:.1f}",
    "probe µs": lambda t: f"{t.probe_us:.1f}",
    "RSS MiB": lambda t: f"{t.rss_bytes / 2**20:.1f}",
    "blocks": lambda t: f"{t.blocks:,}",
    "GC objects": lambda t: f"{t.gc_objects:,}",
    "threads": lambda t: str(t.threads),
    "peak": lambda t: str(t.peak_threads),
    "files": lambda t: str(t.fds),
    "load": lambda t: f"{t.load_1min:.1f}",
}


def _table(tenths: Sequence[Tenth]) -> list[str]:
    rows = [list(COLUMNS), *([cell(tenth) for cell in COLUMNS.values()] for tenth in tenths)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.rjust, row, widths)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|", *lines[1:]]


if __name__ == "__main__":
    sys.exit(command(main))
