"""Writers that are killed, hundreds of times, and what they leave behind: ``killed.py WHERE NAME ROUNDS SEED``.

Each writer is a fork that opens the storage, holds all of it against the model, and writes batch after batch, telling
of each that is written. It is killed with SIGKILL: by itself where a statement of the storage's begins, while it opens
or while it writes (SQLite), or from outside after so many batches. The next one has to find every batch that was told
of, whole, and nothing of one that was not, unless all of it.

Prints, as JSON, how many were killed, at which kinds of statements, how many batches were told of, and how many more
were found.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from haulier._engine.storage import Attempt, Batch, Change, GateRow, Row, Storage, open_storage
from haulier._engine.storage.memory import MemoryStorage

GUARD_S = 20.0
ANEW = 10
"""Rounds after which the database is begun anew, so that its making is killed as well."""
BATCHES = 12
"""That one writer writes, at most."""


def batch(number: int) -> Batch:
    """The batch of that number, the same each time. It says its number in its gate."""
    rng = random.Random(number)
    recent = [(f"s{n % 3}", f"d{n}-{i}") for n in range(max(1, number - 6), number) for i in range(3)]

    def some(most: int) -> list[tuple[str, str]]:
        return rng.sample(recent, min(len(recent), rng.randint(0, most)))

    filler = "x" * rng.choice([10, 500, 9000])  # in the page, and beyond it
    added = [
        Row(f"s{number % 3}", f"d{number}-{i}", number * 10 + i, "queued", None, f'"{filler}"', "[]", None)
        for i in range(3)
    ]
    changed = [Change(*key, "failed", float(number), f'"{filler}"', "[1]") for key in some(5)]
    attempts = [Attempt(*key, number, 1.0, 2.0, "failed", filler, None) for key in some(4)]
    gates = [GateRow("number", float(number), None, False)]
    return Batch(added, changed, attempts, some(4), some(2), gates)


def everything(storage: Storage) -> Any:
    rows, gates, next_seq = storage.load()
    listed, over = list(rows), storage.history(limit=1_000_000)
    keys = [(row.source, row.id) for row in listed] + [(row.source, row.id) for row in over]
    return listed, gates, next_seq, over, [storage.attempts(*key) for key in keys]


class Model:
    """What the database should say after so many batches."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.number = 0

    def advance(self, number: int) -> None:
        while self.number < number:
            self.number += 1
            self.storage.write(batch(self.number))


class Death:
    """Where this process kills itself, if it does."""

    def __init__(self, rng: random.Random, *, itself: bool) -> None:
        self.near = False
        self.while_opening = rng.random() < 0.25
        self._left = rng.randint(1, 20 if self.while_opening else 150) if itself else 0

    def watch(self, tell: Callable[[str], None]) -> None:
        """Have statements counted, while it is near."""
        connect = sqlite3.connect

        def begin(statement: str) -> None:
            self._left -= self.near
            if self.near and self._left == 0:
                tell(f"died {' '.join(statement.split()[:2])}\n")
                os.kill(os.getpid(), signal.SIGKILL)

        def traced(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_trace_callback(begin)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]


def write(where: str, name: str, model: Model, told: int, death: Death, tell: Callable[[str], None]) -> NoReturn:
    """The life of a writer. ``told``: the last batch that one told of."""
    death.near = death.while_opening
    storage = open_storage(where, name)
    death.near = False
    found = next((int(gate.last_end_on or 0) for gate in storage.load().gates), 0)
    assert told <= found <= told + 1, f"{told} batches were written, and {found} are there"
    model.advance(found)
    assert everything(storage) == everything(model.storage), f"not what {found} batches come to"
    tell(f"found {found}\n")
    death.near = True
    for number in range(found + 1, found + 1 + BATCHES):
        storage.write(batch(number))
        tell(f"wrote {number}\n")
    storage.close()
    tell("closed\n")
    os._exit(0)


def one_round(where: str, name: str, model: Model, told: int, rng: random.Random) -> tuple[int, list[str]]:
    """A writer's exit status, and the lines that it told."""
    itself = not where.startswith("postgresql:") and rng.random() < 0.7
    death = Death(rng, itself=itself)
    lines_before_death = rng.randint(0, BATCHES)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)

            def tell(line: str) -> None:
                os.write(writing, line.encode())

            death.watch(tell)
            write(where, name, model, told, death, tell)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    os.close(writing)
    heard = b""
    while True:
        if not itself and heard.count(b"\n") >= lines_before_death:
            select.select([], [], [], rng.random() * 0.003)
            os.kill(pid, signal.SIGKILL)
            itself = True
        ready, _, _ = select.select([reading], [], [], GUARD_S)
        assert ready, "a writer hangs"
        some = os.read(reading, 65536)
        if not some:
            break
        heard += some
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    return status, heard.decode().splitlines()


def main(where: str, name: str, rounds: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    model, told = Model(), 0
    counts: Counter[str] = Counter()
    statements: Counter[str] = Counter()
    for number in range(rounds):
        if number % ANEW == 0 and not where.startswith("postgresql:"):
            for path in Path(where).parent.glob(Path(where).name + "*"):
                path.unlink()
            model, told = Model(), 0
        status, lines = one_round(where, name, model, told, rng)
        assert status in (0, signal.SIGKILL), f"round {number}: status {status}"
        counts["killed"] += status == signal.SIGKILL
        for line in lines:
            word, _, rest = line.partition(" ")
            counts[word] += 1
            if word == "died":
                statements[rest] += 1
            elif word == "found":
                counts["unheard"] += int(rest) - told
                told = int(rest)
            elif word == "wrote":
                told = int(rest)
        model.advance(told)
    return {**counts, "statements": statements}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
