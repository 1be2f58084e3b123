"""Measure a storage: writing rows in bulk and one by one, opening, loading.

``python benchmarks/storage.py [WHERE …]``: each WHERE is ``sqlite`` (a file of its own in ``--folder``) or a
``postgresql://`` URL, in which it uses the engine's name ``bench`` and drops that schema. Every value is shown as the
least and the median of ``--runs`` runs. If the two are far apart, the machine was busy. CPU time is that of this
process, not of the server.
"""

from __future__ import annotations

import argparse
import shlex
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import describe_machine, folder_for, machine
from benchmarks.fresh import RunError, command
from benchmarks.harness import positive
from haulier._engine.storage import Attempt, Batch, Change, Row, open_storage
from haulier._engine.storage.codec import encode
from haulier.records import first_record

BATCH_ROWS: Final = 1000
ROWS: Final = 100_000
NAME: Final = "bench"


class Sample(NamedTuple):
    """One run. Values are microseconds per row or batch, or seconds if the name says so."""

    add_us: float
    add_cpu_us: float
    change_us: float
    change_cpu_us: float
    attempt_us: float
    single_us: float
    open_s: float
    load_s: float
    load_cpu_s: float
    page_us: float


TITLES: Final = {
    "add_us": "add µs/row",
    "add_cpu_us": "CPU",
    "change_us": "change µs/row",
    "change_cpu_us": "CPU",
    "attempt_us": "attempt µs/row",
    "single_us": "batch of one row, µs",
    "open_s": "open s",
    "load_s": "load all, s",
    "load_cpu_s": "CPU",
    "page_us": "page of history, µs",
}


class Stopwatch:
    """Measures wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def each_us(self, count: int) -> tuple[float, float]:
        return self.wall_s / count * 1e6, (time.process_time() - self._cpu_s) / count * 1e6

    @property
    def wall_s(self) -> float:
        return time.perf_counter() - self._wall_s


def measure(where: str, rows: int, singles: int, pragmas: Sequence[str]) -> Sample:
    ids = [str(uuid.uuid4()) for _ in range(rows)]
    record = {**first_record(ids[0], "youtube", "a file of some name.mp4", "youtube", 1.7e9), "title": "x" * 40}
    text, ticket = (
        encode("record", record),
        encode("ticket", [ids[0], "youtube", "dQw4w9WgXcQ", "a name", "file", None]),
    )
    storage: Any = open_storage(where, NAME)
    for pragma in pragmas:
        try:
            storage._connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as exc:
            raise RunError(f"PRAGMA {pragma}: {exc}") from None

    watch = Stopwatch()
    for some in _batches(rows):
        storage.write(Batch(added=[Row("youtube", ids[n], n, "queued", None, text, ticket, None) for n in some]))
    add_us, add_cpu_us = watch.each_us(rows)
    watch = Stopwatch()
    for some in _batches(rows):
        storage.write(Batch(changed=[Change("youtube", ids[n], "succeeded", 1.7e9 + n, text, None) for n in some]))
    change_us, change_cpu_us = watch.each_us(rows)
    watch = Stopwatch()
    tenth = max(1, rows // 10)
    for some in _batches(tenth):
        tried = [Attempt("youtube", ids[n], 1, 1.7e9, 1.7e9, "failed", "timed out", "TimeoutError") for n in some]
        storage.write(Batch(attempts=tried))
    attempt_us, _ = watch.each_us(tenth)
    watch = Stopwatch()
    for n in range(singles):
        storage.write(Batch(changed=[Change("youtube", ids[n * 7919 % rows], "succeeded", 1.7e9 + n, text, None)]))
    single_us, _ = watch.each_us(singles)

    storage.close()
    watch = Stopwatch()
    storage = open_storage(where, NAME)
    open_s = watch.wall_s
    watch = Stopwatch()
    loaded = list(storage.load().rows)
    load_s, load_cpu_s = (us / 1e6 for us in watch.each_us(1))
    assert len(loaded) == rows
    watch = Stopwatch()
    for _ in range(10):
        assert len(storage.history(limit=100)) == min(100, rows)
    page_us, _ = watch.each_us(10)
    storage.close()
    return Sample(
        add_us, add_cpu_us, change_us, change_cpu_us, attempt_us, single_us, open_s, load_s, load_cpu_s, page_us
    )


def _batches(rows: int) -> Iterator[range]:
    for first in range(0, rows, BATCH_ROWS):
        yield range(first, min(first + BATCH_ROWS, rows))


def _drop(url: str) -> None:
    import psycopg

    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "haulier_{NAME}" CASCADE'.encode())
    except psycopg.Error as exc:
        raise RunError(f"PostgreSQL: {exc}") from None


def _run(where: str, options: argparse.Namespace) -> Sample:
    if where != "sqlite":
        _drop(where)
        try:
            return measure(where, options.rows, options.singles, [])
        finally:
            _drop(where)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return measure(f"{folder}/haulier.db", options.rows, options.singles, options.pragma)


def _version(where: str) -> str:
    if where == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    import psycopg

    with psycopg.connect(where) as connection:
        return f"PostgreSQL {connection.info.server_version // 10_000}"


def _page(places: dict[str, list[Sample]], options: argparse.Namespace, here: dict[str, Any]) -> str:
    how = "".join(f", {pragma}" for pragma in options.pragma) or ", synchronous=full"
    lines = [
        "# What a storage costs",
        "",
        f"{options.rows:,} rows in batches of {BATCH_ROWS:,}{how}; least (median) of {options.runs} runs. "
        f"{describe_machine(here)}; load {here['load_1min']:g} before; `{_command()}`.",
        "",
        "| storage | " + " | ".join(TITLES[field] for field in Sample._fields) + " |",
        "|---|" + "---:|" * len(Sample._fields),
    ]
    for where, samples in places.items():
        cells = [_cell(field, [getattr(sample, field) for sample in samples]) for field in Sample._fields]
        lines.append(f"| {_version(where)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _command() -> str:
    shown = ["postgresql://…" if "://" in argument else argument for argument in sys.argv[1:]]
    return shlex.join(["python", "benchmarks/storage.py", *shown])


def _cell(field: str, values: Sequence[float]) -> str:
    digits = 2 if field.endswith("_s") else 1
    return f"{min(values):.{digits}f} ({statistics.median(values):.{digits}f})"


def _place(text: str) -> str:
    if text != "sqlite" and not text.startswith(("postgresql://", "postgres://")):
        raise argparse.ArgumentTypeError(f"neither sqlite nor a postgresql:// URL: {text!r}")
    if text != "sqlite" and find_spec("psycopg") is None:
        raise argparse.ArgumentTypeError("PostgreSQL needs psycopg: pip install 'haulier[postgres]'")
    return text


def _folder(text: str) -> str:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"no folder {text!r}")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description="What a storage costs")
    parser.add_argument(
        "where", nargs="*", type=_place, default=["sqlite"], metavar="WHERE", help="sqlite, or a postgresql:// URL"
    )
    parser.add_argument("--rows", type=positive, default=ROWS, metavar="N", help=f"default: {ROWS:,}")
    parser.add_argument("--singles", type=positive, default=300, metavar="N", help="batches of one row; default: 300")
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="of each storage, in turn; default: 5")
    parser.add_argument("--folder", type=_folder, help="for the file; default: that of temporary files")
    parser.add_argument(
        "--pragma", action="append", default=[], metavar="'NAME = VALUE'", help="for SQLite, instead of the default one"
    )
    parser.add_argument("--smoke", action="store_true", help="small, once, nothing written")
    options = parser.parse_args()
    if options.smoke:
        options.rows, options.singles, options.runs = 2000, 10, 1
    here = machine()
    places: dict[str, list[Sample]] = {where: [] for where in options.where}
    for number in range(options.runs):
        for where, samples in places.items():  # in turn: a slow minute of the machine hits all alike
            samples.append(_run(where, options))
            print(f"run {number + 1} of {options.runs}: {_version(where)}", file=sys.stderr)
    page = _page(places, options, here)
    print(page)
    if not options.smoke and not options.pragma:
        folder = folder_for(options.rows == ROWS)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "storage.md").write_text(page + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
