"""Where the time of a download goes: each step alone, and what a whole run of W1 counts.

``python benchmarks/anatomy.py`` runs the steps one after another on one thread, with no other thread running. So they
add up to what a download would cost if threads were free. A real run costs more, because threads wake each other up and
wait for the interpreter lock.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import haulier
from benchmarks.contenders.haulier_engine import HaulierEngine
from benchmarks.figures import describe_machine, dumps, folder_for, machine, markdown
from benchmarks.fresh import command
from benchmarks.harness import positive
from benchmarks.w1 import W1
from haulier._engine import messages as m
from haulier._engine.core.journal import Journal
from haulier._engine.core.ledger import Ledger
from haulier._engine.shells import durable
from haulier._engine.shells.ids import new_id
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.outlet import Outlet
from haulier._engine.shells.slot import SourceActor
from haulier._engine.shells.store import Store
from haulier._engine.shells.tickets import text_of_ticket
from haulier._engine.storage import open_storage
from haulier._engine.ticket import make_ticket
from haulier._threads.bell import Bell
from haulier.transfer import Transfer

__all__ = ["main"]

KEPT: Final = haulier.Retention(max_terminal=10_000_000)
SOURCE: Final = "source"
ON: Final = 1.7e9
DOWNLOADS: Final = 10_000


class Step(NamedTuple):
    """One step of a download: what it does, on which thread, and how many µs it takes."""

    what: str
    where: str
    us: float


def _impl(download_id: str, target_id: Any, display_name: str) -> str:
    return "downloads/instant.bin"


class _Stopwatch:
    def __init__(self, count: int) -> None:
        self.steps: list[Step] = []
        self._count = count

    def time(self, what: str, where: str, do: Callable[[], Any]) -> Any:
        gc.collect()
        began = time.perf_counter()
        made = do()
        self.steps.append(Step(what, where, 1e6 * (time.perf_counter() - began) / self._count))
        return made


def _in_memory(count: int) -> list[Step]:
    """Time each step of an instant download."""
    watch, posted = _Stopwatch(count), list[Any]()
    with haulier.DownloadEngine(retention=KEPT) as engine:
        engine.register_source(SOURCE)
        engine.pause(SOURCE)
        dispatch = engine.worker.dispatch
        dispatch(SOURCE, 0, "A song", "instant.bin", _impl)
        watch.time("an id", "caller", lambda: [new_id() for _ in range(count)])
        watch.time(
            "dispatch: checks, id, ticket; pending, told, queued",
            "caller",
            lambda: [dispatch(SOURCE, 0, "A song", "instant.bin", _impl) for _ in range(count)],
        )
        engine.close(timeout=0.0)
    mailbox = Mailbox(SOURCE, haulier.SourcePolicy(), posted.append, lambda _: None, 5.0)
    mailbox.common.append(_impl)
    tickets = [(new_id(), SOURCE, 0, "A song", "instant.bin", SOURCE, 0, None, None, ON) for _ in range(count)]
    for ticket in tickets:
        mailbox.intake.put(ticket)
    slot = SourceActor(mailbox, 1)
    first = mailbox.source.attempts.take(1.0, ON)
    assert isinstance(first, Transfer)
    watch.time("calling the impl", "slot", lambda: [slot._run(first) for _ in range(count)])

    def turn_all() -> None:
        transfer: Transfer | None = first
        while transfer is not None:
            transfer = mailbox.outlet.report(transfer, m.Succeeded(transfer, "downloads/instant.bin"), slot)

    watch.time("the end of one and the start of the next", "slot", turn_all)
    ledger = Ledger(KEPT)

    def apply_all() -> None:
        for message in posted:
            ledger.handlers[type(message)](message)

    watch.time("applying its messages", "store", apply_all)
    return watch.steps


def _on_disk(count: int, folder: Path) -> list[Step]:
    """Time each step of a durable download: 8 batches of new downloads, then all ends."""
    watch = _Stopwatch(count)
    journal = Journal(lambda _: True)
    ledger = Ledger(KEPT, journal)
    storage = open_storage(folder / "haulier.db")
    storage.load()
    tickets = [make_ticket(new_id(), SOURCE, 0, "A song", "instant.bin", SOURCE, queued_at=ON) for _ in range(count)]
    texts = watch.time("its ticket as text", "caller", lambda: [text_of_ticket(ticket, None) for ticket in tickets])
    size = max(count // 8, 1)
    parts = [slice(start, start + size) for start in range(0, count, size)]

    def write() -> Any:
        return durable._batch(ledger, journal, journal.take_batch(), lambda _: False)

    def add() -> list[Any]:
        made = []
        for part in parts:
            ledger.apply(m.Add(SOURCE, tickets[part], texts[part]))
            made.append(write())
        return made

    added = watch.time("applying what is new, as rows", "store", add)
    watch.time("INSERT and commit", "store", lambda: list(map(storage.write, added)))
    transfers = [Transfer(ticket, 1, {}, 1.0, ON) for ticket in tickets]

    def land() -> Any:
        for transfer in transfers:
            ledger.apply(transfer)
            ledger.apply(m.Succeeded(transfer, "downloads/instant.bin", ON + 1.0))
        return write()

    landed = watch.time("applying starts and ends, as rows", "store", land)
    watch.time("UPDATE and commit", "store", lambda: storage.write(landed))
    storage.close()
    return watch.steps


def _counts(count: int) -> dict[str, float]:
    """Count what a whole run of W1 does, per download."""
    seen: Counter[str] = Counter()

    def counted(kind: type, name: str, what: Callable[[Any], str | None]) -> None:
        method = getattr(kind, name)

        def count_it(self: Any, *arguments: Any) -> Any:
            counts_as = what(self)
            if counts_as is not None:
                seen[counts_as] += 1
            return method(self, *arguments)

        setattr(kind, name, count_it)

    counted(Store, "tell", lambda _: "messages to the store")
    counted(Store, "ask", lambda _: "questions to the store")
    counted(Bell, "ring", lambda bell: "wake-ups" if bell.armed else None)
    counted(Outlet, "report", lambda _: "turns of a slot")
    engine = HaulierEngine()
    sample = W1.measure(engine, {**W1.sizes, "downloads": count})
    engine.close()
    return {**{what: times / count for what, times in seen.items()}, "thread switches": sample["switches_per_download"]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="where the time of a download goes")
    parser.add_argument("--downloads", type=positive, default=DOWNLOADS, metavar="N", help="default: 10,000")
    parser.add_argument(
        "--runs", type=positive, default=7, metavar="N", help="how often to count; the least is shown; default: 7"
    )
    parser.add_argument("--smoke", action="store_true", help="small, once, nothing written")
    options = parser.parse_args(arguments)
    count, runs = (200, 1) if options.smoke else (options.downloads, options.runs)
    here = machine()
    memory = _least(_in_memory(count) for _ in range(runs))
    with tempfile.TemporaryDirectory() as scratch:
        disk = _least(_on_disk(count, Path(tempfile.mkdtemp(dir=scratch))) for _ in range(runs))
    counts = _counts(count)
    page = _page(memory, disk, counts, here, runs)
    if options.smoke:
        print("anatomy: ok")
        return 0
    folder = folder_for(count == DOWNLOADS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "anatomy.md").write_text(page, encoding="utf-8")
    steps = {"memory": [step._asdict() for step in memory], "disk": [step._asdict() for step in disk]}
    filed = {"command": _command(), "machine": here, "least_of": runs, "downloads": count, **steps, "counts": counts}
    (folder / "anatomy.json").write_text(dumps(filed), encoding="utf-8")
    print(page)
    return 0


def _command() -> str:
    return shlex.join(["python", "benchmarks/anatomy.py", *sys.argv[1:]])


def _least(runs: Iterable[list[Step]]) -> list[Step]:
    """Return the least time of all runs for each step: work of other processes only adds to it."""
    return [min(same, key=lambda step: step.us) for same in zip(*runs, strict=True)]


def _page(
    memory: Sequence[Step], disk: Sequence[Step], counts: dict[str, float], here: dict[str, Any], runs: int
) -> str:
    def table(steps: Sequence[Step], total: float) -> Iterator[str]:
        rows = [["step", "thread", "µs"], *([step.what, step.where, f"{step.us:.2f}"] for step in steps)]
        yield from markdown([*rows, ["together", "", f"{total:.2f}"]], left=(0, 1))

    in_all = sum(step.us for step in memory[1:])  # the id is a part of the dispatch
    return "\n".join(
        [
            "# Where the time of a download goes",
            "",
            f"The least of {runs} runs; {describe_machine(here)}; `{_command()}`.",
            "",
            "## In memory",
            "",
            *table(memory, in_all),
            "",
            "The id is a part of the dispatch, and counted there.",
            "",
            "## What comes to that on disk",
            "",
            *table(disk, sum(step.us for step in disk)),
            "",
            "## What W1 counts, per download",
            "",
            *markdown([["what", "per download"], *([what, f"{times:.3f}"] for what, times in sorted(counts.items()))]),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(command(main))
