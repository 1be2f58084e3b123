"""An SQLite file gives the room of deleted rows back to the file system."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from haulier import StoreUnavailable
from haulier._engine.storage import Batch, open_storage, sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "haulier.db"


def fill(storage: Any, make: Any, count: int = 2000) -> None:
    """Write history of about one page for every four rows."""
    rows = [make.ended("tidal", f"d{n}", n, float(n))._replace(record=f'"{"x" * 900}"') for n in range(count)]
    storage.write(Batch(added=rows, unlisted=[(row.source, row.id) for row in rows]))


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        [(number,)] = connection.execute(f"PRAGMA {name}").fetchall()
    return int(number)


def shrink_fully(storage: Any) -> int:
    """How many calls it takes."""
    calls = 1
    while storage.shrink():
        calls += 1
    return calls


def make_old(path: Path) -> None:
    """Make the file one of an older haulier, which cannot shrink."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    assert pragma(path, "auto_vacuum") == 0


def test_it_shrinks_in_pieces_after_pruning(path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SHRINK_PAGES", 100)
    storage = open_storage(path)
    fill(storage, make)
    before = pragma(path, "page_count")
    assert before > 500
    storage.prune(20, None)
    assert storage.shrink()
    assert before - 110 <= pragma(path, "page_count") <= before - 100
    assert shrink_fully(storage) >= 3
    assert pragma(path, "page_count") < 40
    assert len(storage.history(limit=100)) == 20
    storage.close()
    assert path.stat().st_size < 40 * 4096
    storage = open_storage(path)
    assert [row.id for row in storage.history()] == [f"d{n}" for n in range(1999, 1979, -1)]
    storage.close()


def test_a_quarter_of_the_file_stays_free_for_the_next_rows(path: Path, make: Any) -> None:
    storage = open_storage(path)
    fill(storage, make)
    storage.prune(1700, None)
    before = pragma(path, "page_count")
    assert 0 < pragma(path, "freelist_count") < before / 4
    assert not storage.shrink()
    assert pragma(path, "page_count") == before
    storage.prune(1000, None)
    shrink_fully(storage)
    pages, free = pragma(path, "page_count"), pragma(path, "freelist_count")
    assert pages / 4 - 2 <= free <= pages / 4 + 2
    storage.close()


def test_a_file_of_an_older_haulier_is_rewritten_once(path: Path, make: Any) -> None:
    storage = open_storage(path)
    fill(storage, make)
    storage.close()
    make_old(path)
    storage = open_storage(path)
    assert pragma(path, "auto_vacuum") == 2
    storage.prune(20, None)
    shrink_fully(storage)
    storage.close()
    assert path.stat().st_size < 40 * 4096
    storage = open_storage(path)
    assert (pragma(path, "application_id"), pragma(path, "user_version")) == (sqlite.APPLICATION_ID, 1)
    assert len(storage.history()) == 20
    storage.close()


def test_a_large_file_of_an_older_haulier_is_left_until_little_of_it_is_used(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "VACUUMED_BYTES", 1 << 20)
    storage = open_storage(path)
    fill(storage, make)
    storage.close()
    make_old(path)
    storage = open_storage(path)
    assert pragma(path, "auto_vacuum") == 0
    storage.prune(20, None)
    assert not storage.shrink()
    storage.close()
    open_storage(path).close()
    assert pragma(path, "auto_vacuum") == 2
    assert path.stat().st_size < 40 * 4096


def test_a_file_that_another_program_writes_is_rewritten_at_the_next_start(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_storage(path)
    fill(storage, make, 50)
    storage.close()
    make_old(path)
    other = sqlite3.connect(path, isolation_level=None)

    def migrate(self: Any, connection: sqlite3.Connection) -> None:
        migrated(self, connection)
        other.execute("BEGIN IMMEDIATE")  # from here on it writes

    migrated = sqlite.SqliteStorage._migrate
    with monkeypatch.context() as patch:
        patch.setattr(sqlite.SqliteStorage, "_migrate", migrate)
        storage = open_storage(path)
    assert "keeps its free room" in caplog.text
    assert len(storage.history()) == 50
    other.execute("ROLLBACK")
    other.close()
    fill(storage, make, 50)
    storage.close()
    assert pragma(path, "auto_vacuum") == 0
    open_storage(path).close()
    assert pragma(path, "auto_vacuum") == 2


def test_a_file_that_another_program_writes_does_not_shrink(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.01)
    storage = open_storage(path)
    fill(storage, make)
    storage.prune(20, None)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another program has been writing"):
            storage.shrink()
        other.execute("ROLLBACK")
    assert shrink_fully(storage) >= 1
    assert pragma(path, "page_count") < 40
    storage.close()
