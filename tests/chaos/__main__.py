"""``make chaos``: rounds of chaos, one after the other, until the time is over or a promise is broken."""

from __future__ import annotations

import argparse
import faulthandler
import os
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import SystemRandom
from time import monotonic
from typing import Final

from tests.chaos.books import Books, Broken, Promise
from tests.chaos.memory import alive, resident_bytes
from tests.chaos.plan import draw_plan
from tests.chaos.report import table
from tests.chaos.round import play

MINUTES: Final = 3.0

HANG_S: Final = 300.0
"""A round that takes so long hangs, whatever it waits for: all its own waits are shorter."""

WARM: Final = 5
"""Rounds until memory is what it will be."""

GROWTH_BYTES: Final = 64 * 2**20
"""What memory may differ by between a round and a later one: its downloads, and what the allocator keeps."""


def main() -> int:
    """Run; the exit status."""
    wanted = _arguments()
    print(
        f"seed {wanted.seed}, " + (f"for {wanted.minutes:g} min" if wanted.round is None else f"round {wanted.round}")
    )
    began = monotonic()
    total = _Total()
    status = 0
    try:
        for number in count() if wanted.round is None else [wanted.round]:
            broken = _round(wanted, number, total, began)
            if (broken and not wanted.anywhere) or monotonic() - began >= 60 * wanted.minutes:
                break
    except KeyboardInterrupt:
        status = 130
    print(f"\n{total.looks['hang']} rounds with seed {wanted.seed} in {monotonic() - began:.0f} s,", end=" ")
    print(f"{total.done['accepted']:,} downloads, {total.done['lines logged']:,} lines logged")
    for line in table(total.done, total.looks, total.broken.elements()):
        print(line)
    print("as many at once as may: " + ", ".join(f"{peak} of {limit}" for limit, peak in sorted(total.peaks.items())))
    return 1 if total.broken else status


def _round(wanted: argparse.Namespace, number: int, total: _Total, began: float) -> bool:
    """Play a round and tell of it; whether anything was broken."""
    repeat = f'make chaos ARGS="--seed {wanted.seed} --round {number}"'
    folder = Path(tempfile.mkdtemp(prefix="haulier-chaos-"))
    with _watched(f"this round hangs; again: {repeat}\nits trace, where it has one: {folder / 'trace'}"):
        books = play(draw_plan(wanted.seed, number), folder, anywhere=wanted.anywhere)
    broken = total.add(books)
    print(
        f"{monotonic() - began:7.1f} s  round {number}: {books.done['accepted']} downloads, {_end(books)},"
        f" {total.resident / 2**20:.0f} MiB, {len(broken)} broken",
        flush=True,
    )
    for each in broken[:20]:
        print(f"\n{each.promise}: {each.how}")
    if broken:
        print(f"\nagain: {repeat}\nfiles and trace: {folder}")
    else:
        shutil.rmtree(folder)
    return bool(broken)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10_000), help="default: any")
    parser.add_argument("--round", type=int, help="only this round of the seed")
    parser.add_argument(
        "--anywhere",
        action="store_true",
        help="raise SystemExit in any thread of haulier, at any moment: nobody promises to survive that",
    )
    return parser.parse_args()


class _Total:
    """All rounds so far."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.looks: Counter[Promise] = Counter()
        self.broken: Counter[Promise] = Counter()
        self.peaks: dict[int, int] = {}
        self.resident = 0
        self._warm = 0

    def add(self, books: Books) -> list[Broken]:
        """Add a round, of which nothing may be left; what was broken in it."""
        self.looks.update({"hang": 1, "left": 1})
        for kind, many in alive().items():
            books.blame("left", f"{many} objects of type {kind} are left")
        self.resident = resident_bytes()
        if self.looks["left"] == WARM:
            self._warm = self.resident
        if self._warm and self.resident > self._warm + GROWTH_BYTES:
            books.blame(
                "left", f"{(self.resident - self._warm) / 2**20:.0f} MiB more than after the first {WARM} rounds"
            )
        for limit, peak in books.peaks().items():
            self.peaks[limit] = max(peak, self.peaks.get(limit, 0))
            if peak != limit:
                books.blame("limit", f"{peak} ran at once at most, where {limit} may")
        self.done.update(books.done)
        self.looks.update(books.looks)
        self.broken.update(each.promise for each in books.broken)
        return books.broken


def _end(books: Books) -> str:
    return next((what for what in books.done if what.startswith("end: ")), "no end")


@contextmanager
def _watched(last_words: str) -> Iterator[None]:
    """End the process, with the stacks of all threads, where this takes too long."""

    def bark() -> None:
        print(last_words, flush=True)
        faulthandler.dump_traceback()
        os._exit(1)

    dog = threading.Timer(HANG_S, bark)
    dog.daemon = True
    dog.start()
    faulthandler.dump_traceback_later(HANG_S + 10, exit=True)  # for whoever never lets the interpreter go
    try:
        yield
    finally:
        dog.cancel()
        dog.join()
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    sys.exit(main())
