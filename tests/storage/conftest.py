"""Places to open a storage at: dicts, a file, a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest

from haulier._engine.storage import Attempt, GateRow, Row, Storage, open_storage
from haulier._engine.storage.memory import MemoryStorage

if TYPE_CHECKING:
    import psycopg

Open: TypeAlias = Callable[[], Storage]


class Place:
    """Where a storage is opened, closed and opened again."""

    def __init__(self, kind: str, open_at: Open) -> None:
        self.kind = kind
        self._open_at = open_at
        self.opened: list[Storage] = []

    def open(self) -> Storage:
        """Open it; it is closed with the test, at the latest."""
        self.opened.append(self._open_at())
        return self.opened[-1]

    def again(self) -> Storage:
        """Close the last one and open it again."""
        self.opened[-1].close()
        return self.open()


def place_at(kind: str, request: pytest.FixtureRequest) -> Place:
    """A place of that kind that nobody else has."""
    if kind == "memory":
        return _in_memory()
    if kind == "sqlite":
        path = cast(Path, request.getfixturevalue("tmp_path")) / "haulier.db"
        return Place(kind, lambda: open_storage(path))
    cluster = request.getfixturevalue("postgres")
    name = cluster.name()
    return Place(kind, lambda: open_storage(cluster.url(), name))


def _in_memory() -> Place:
    last: list[MemoryStorage] = []

    def open_at() -> Storage:
        last.append(MemoryStorage(last[-1] if last else None))
        return last[-1]

    return Place("memory", open_at)


def _closed_afterwards(place: Place) -> Iterator[Place]:
    yield place
    for storage in place.opened:
        storage.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each kind in turn."""
    yield from _closed_afterwards(place_at(request.param, request))


@pytest.fixture(params=["sqlite", "postgres"])
def durable(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each kind that outlives its process."""
    yield from _closed_afterwards(place_at(request.param, request))


@pytest.fixture
def storage(place: Place) -> Storage:
    """An open storage, of each kind in turn."""
    return place.open()


def row(source: str, id_: str, seq: int, **more: Any) -> Row:
    """A row that is queued, unless it says otherwise."""
    fields: dict[str, Any] = {"phase": "queued", "ended_on": None, "record": "{}", "ticket": "[]", "tried": None}
    return Row(source, id_, seq, **fields | more)


def ended(source: str, id_: str, seq: int, on: float, phase: str = "succeeded") -> Row:
    """A row that is over."""
    return row(source, id_, seq, phase=phase, ended_on=on)


def attempt(source: str, id_: str, number: int, error: str | None = None) -> Attempt:
    """An attempt that has ended."""
    return Attempt(source, id_, number, 1.0 * number, 1.5 * number, "failed" if error else "landed", error, None)


class Words:
    """What tests write."""

    row = staticmethod(row)
    ended = staticmethod(ended)
    attempt = staticmethod(attempt)


@pytest.fixture(name="make", scope="session")
def words() -> type[Words]:
    """``make.row(…)``, ``make.ended(…)``, ``make.attempt(…)``."""
    return Words


def everything(storage: Storage) -> tuple[list[Row], list[GateRow], int, list[Row], list[list[Attempt]]]:
    """All that can be read of a storage."""
    rows, gates, next_seq = storage.load()
    listed, over = list(rows), storage.history(limit=1_000_000)
    keys = dict.fromkeys([(row.source, row.id) for row in listed] + [(row.source, row.id) for row in over])
    return listed, gates, next_seq, over, [storage.attempts(*key) for key in keys]


@pytest.fixture(name="everything", scope="session")
def everything_fixture() -> Callable[[Storage], Any]:
    """``everything(storage)``: all that can be read of it, to be compared."""
    return everything


# ---- PostgreSQL alone ------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(postgres: Any) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection of the test's own, to look at the server and to change it."""
    import psycopg

    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def database_name(postgres: Any) -> str:
    """A name that no storage has yet."""
    return str(postgres.name())


@pytest.fixture
def opened(postgres: Any, database_name: str) -> Iterator[Callable[..., Any]]:
    """``opened()`` opens a storage of that name, which is closed at the end."""
    storages: list[Storage] = []

    def open_it(where: str | None = None, name: str = database_name, **options: Any) -> Any:
        storages.append(open_storage(where or postgres.url(), name, **options))
        return storages[-1]

    yield open_it
    for storage in storages:
        storage.close()
