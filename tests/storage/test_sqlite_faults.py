"""What goes wrong with a file while it is in use, for real: nothing that was written is lost, and it goes on."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.storage.stored import stored_ids

from haulier import StoreUnavailable
from haulier._engine.storage import Batch, Change, GateRow, Storage, open_storage, sqlite

FILLER = f'"{"x" * 5000}"'


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``opened(path)``: an open storage, closed at the end."""
    storages: list[Any] = []

    def open_it(path: Path | None = None, **options: Any) -> Any:
        storages.append(open_storage(path or tmp_path / "haulier.db", **options))
        return storages[-1]

    yield open_it
    for storage in storages:
        storage.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(place)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(storage: Storage, make: Any, first: int = 0) -> list[str]:
    """Write batches of two rows until the disk is full; the ids of what was written."""
    written: list[str] = []
    for number in range(first, first + 1000):
        pair = [f"d{number}a", f"d{number}b"]
        added = [make.row("tidal", id_, 2 * number + i, record=FILLER) for i, id_ in enumerate(pair)]
        try:
            storage.write(Batch(added=added, gates=[GateRow("tidal", float(number), None, False)]))
        except StoreUnavailable as error:
            assert "the disk is full" in str(error)  # noqa: PT017 - it is the end of the loop
            return written
        written += pair
    raise AssertionError("the disk never was full")


# ---- the disk is full ------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_whole_batches_and_goes_on_when_there_is_room(
    small_disk: Path, opened: Callable[..., Storage], make: Any
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (600 << 10))
    storage = opened(small_disk / "haulier.db")
    written = fill(storage, make)
    assert len(written) > 10
    assert stored_ids(storage) == written
    assert storage.load().gates == [GateRow("tidal", len(written) / 2 - 1, None, False)]
    for _ in range(3):  # it stays full, and says so each time
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            storage.write(Batch(added=[make.row("tidal", "more", 10_000, record=f'"{"x" * 50_000}"')]))
    assert stored_ids(storage) == written
    ballast.unlink()
    storage.write(Batch(added=[make.row("tidal", "more", 10_000, record=f'"{"x" * 50_000}"')]))
    assert stored_ids(storage) == [*written, "more"]
    storage.close()
    again = opened(small_disk / "haulier.db")
    assert stored_ids(again) == [*written, "more"]


def test_what_was_written_to_a_full_disk_is_there_after_kill_9(
    small_disk: Path, opened: Callable[..., Storage], make: Any, tmp_path: Path
) -> None:
    written = fill(opened(small_disk / "haulier.db"), make)
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("haulier.db", "haulier.db-wal"):  # what a killed process leaves
        shutil.copy(small_disk / name, killed / name)
    assert stored_ids(opened(killed / "haulier.db")) == written


def test_a_disk_that_is_full_from_the_start(small_disk: Path, opened: Callable[..., Storage], make: Any) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"\0" * (2 << 20))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"haulier\.db"):
            opened(small_disk / "haulier.db")
    ballast.unlink()
    storage = opened(small_disk / "haulier.db")
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    assert stored_ids(storage) == ["a"]


# ---- the file, or its log, fails -------------------------------------------------------------------------------------


def test_a_file_that_becomes_read_only(opened: Callable[..., Storage], make: Any, tmp_path: Path) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    files = [str(tmp_path / "haulier.db"), str(tmp_path / "haulier.db-wal")]
    if shutil.which("chattr") is None:
        pytest.skip("no chattr here")
    done = subprocess.run(["chattr", "+i", *files], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"chattr +i is not allowed here: {done.stderr.strip()}")
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"haulier\.db"):
                storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)
    assert stored_ids(storage) == ["a"]
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert stored_ids(storage) == ["a", "b"]


def test_a_file_that_is_damaged_while_it_is_in_use(
    opened: Callable[..., Storage], make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "haulier.db"
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", f"d{n}", n, record=FILLER) for n in range(300)]))
    storage.close()
    good = path.read_bytes()
    storage = opened()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(0).randbytes(len(good) - 8192))
    changes = [Change("tidal", f"d{n}", "failed", 1.0, FILLER, None) for n in range(300)]
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="damaged"):
            storage.write(Batch(changed=changes))
        with pytest.raises(StoreUnavailable, match="damaged"):
            stored_ids(storage)
    path.write_bytes(good)  # put back in place, the same file
    storage.write(Batch(changed=changes))
    assert {row.phase for row in storage.load().rows} == {"failed"}


def test_a_file_that_is_emptied_while_it_is_in_use_does_not_become_a_new_one(
    opened: Callable[..., Storage], make: Any, tmp_path: Path
) -> None:
    path = tmp_path / "haulier.db"
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", f"d{n}", n, record=FILLER) for n in range(300)]))
    storage.close()
    good = path.read_bytes()
    storage = opened()
    os.truncate(path, 0)
    held = []  # by whoever was told, and with it all that its traceback has
    for message in ("damaged", "emptied", "emptied"):
        with pytest.raises(StoreUnavailable, match=message) as raised:
            storage.write(Batch(added=[make.row("tidal", "new", 300)]))
        held.append(raised.value)
        assert path.read_bytes() == b""
    path.write_bytes(good)
    storage.write(Batch(added=[make.row("tidal", "new", 300)]))
    assert stored_ids(storage) == [*(f"d{n}" for n in range(300)), "new"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nobody says here which files are open")
def test_a_connection_that_is_dropped_lets_go_of_the_file(
    opened: Callable[..., Storage], make: Any, tmp_path: Path
) -> None:
    """Else its locks stay for as long as somebody has the exception."""
    path = tmp_path / "haulier.db"
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", f"d{n}", n, record=FILLER) for n in range(300)]))
    storage.close()
    for use in (stored_ids, lambda storage: storage.write(Batch(added=[make.row("tidal", "new", 300)]))):
        good = path.read_bytes()
        storage = opened()
        os.truncate(path, 4096)
        with pytest.raises(StoreUnavailable, match="damaged") as raised:
            use(storage)
        assert not [fd for fd in Path("/proc/self/fd").iterdir() if os.path.realpath(fd) == str(path)], raised
        path.write_bytes(good)
        assert len(stored_ids(storage)) == 300
        storage.close()


def test_a_file_that_is_removed_or_replaced_is_not_written_to(
    opened: Callable[..., Storage], make: Any, tmp_path: Path
) -> None:
    path, aside = tmp_path / "haulier.db", tmp_path / "aside.db"
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    path.rename(aside)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert not path.exists()
    shutil.copy(aside, path)
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        stored_ids(storage)
    aside.replace(path)
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert stored_ids(storage) == ["a", "b"]


@pytest.mark.parametrize("beside", ["-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_log_that_is_removed_is_noticed_and_nothing_is_lost(
    opened: Callable[..., Storage], make: Any, tmp_path: Path, beside: str, replaced: bool
) -> None:
    """SQLite would go on writing to a file without a name, which the next process does not find."""
    path = tmp_path / "haulier.db"
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    log = Path(f"{path}{beside}")
    content = log.read_bytes()
    log.unlink()
    if replaced:
        log.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=rf"haulier\.db{beside} was removed or replaced .* Nothing is lost"):
        storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    storage.write(Batch(added=[make.row("tidal", "c", 3)]))
    assert stored_ids(storage) == ["a", "c"]
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        shutil.copy(tmp_path / name, killed / name)
    assert stored_ids(opened(killed / path.name)) == ["a", "c"]


def test_a_reader_notices_a_log_that_is_removed_too(opened: Callable[..., Storage], make: Any, tmp_path: Path) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    (tmp_path / "haulier.db-wal").unlink()
    with pytest.raises(StoreUnavailable, match="Nothing is lost"):
        stored_ids(storage)
    assert stored_ids(storage) == ["a"]


def test_a_log_without_a_name_is_kept_until_it_can_be_saved(
    opened: Callable[..., Storage], make: Any, tmp_path: Path
) -> None:
    """A program that reads an older state keeps the log from being copied."""
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    reader = sqlite3.connect(tmp_path / "haulier.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM downloads").fetchone() == (1,)
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    (tmp_path / "haulier.db-wal").unlink()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="cannot be saved while another program reads"):
            storage.write(Batch(added=[make.row("tidal", "c", 3)]))
    reader.close()
    with pytest.raises(StoreUnavailable, match="Nothing is lost"):
        stored_ids(storage)
    assert stored_ids(storage) == ["a", "b"]


# ---- others at the same file -----------------------------------------------------------------------------------------


def test_a_reader_from_outside_sees_what_is_written_and_breaks_nothing(
    opened: Callable[..., Storage], make: Any, tmp_path: Path
) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    reader = sqlite3.connect(f"file:{tmp_path}/haulier.db?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT id FROM downloads").fetchall() == [("a",)]
    for number in range(2, 200):
        storage.write(Batch(added=[make.row("tidal", f"d{number}", number, record=FILLER)]))
    assert reader.execute("SELECT id FROM downloads").fetchall() == [("a",)]
    storage.close()
    storage = opened()
    assert len(stored_ids(storage)) == 199
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM downloads").fetchall() == [(199,)]
    storage.write(Batch(forgotten=[("tidal", "a")]))
    assert len(stored_ids(storage)) == 198
    storage.close()  # with the reader there, but not in a transaction: the file alone has everything
    shutil.copy(tmp_path / "haulier.db", tmp_path / "copy.db")
    assert len(stored_ids(opened(tmp_path / "copy.db"))) == 198
    reader.close()


def test_a_writer_from_outside_is_waited_for_and_then_told_of(
    opened: Callable[..., Storage], make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.05)
    storage = opened()
    writer = sqlite3.connect(tmp_path / "haulier.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="another program"):
            storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    assert stored_ids(storage) == []
    writer.execute("COMMIT")
    writer.close()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    assert stored_ids(storage) == ["a"]


def test_the_disk_is_waited_for(opened: Callable[..., Any], tmp_path: Path) -> None:
    """Power cannot be cut in a test: what SQLite was told is looked at instead."""
    for synchronous, level in (("full", 2), ("normal", 1)):
        storage = opened(tmp_path / f"{synchronous}.db", synchronous=synchronous)
        for pragma, value in {"synchronous": level, "journal_mode": "wal", "fullfsync": 1}.items():
            assert storage._connection.execute(f"PRAGMA {pragma}").fetchall() == [(value,)]
    assert opened(tmp_path / "other.db")._connection.execute("PRAGMA synchronous").fetchall() == [(2,)]
    assert os.listdir(tmp_path)
