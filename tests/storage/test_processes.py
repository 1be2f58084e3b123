"""Several processes, and processes that are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.storage.stored import stored_ids

from haulier import ForkedEngine, StoreLocked
from haulier._engine.storage import Batch, open_storage

PROGRAMS = Path(__file__).parent / "programs"
GUARD_S = 30.0

Place: TypeAlias = tuple[str, str]
"""Where, and the engine's name."""


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return str(tmp_path / "haulier.db"), "default"
    cluster: Any = request.getfixturevalue("postgres")
    return cluster.url(), cluster.name()


@pytest.fixture
def hold() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``hold(place)``: a process that has the storage open."""
    started: list[subprocess.Popen[str]] = []

    def start(place: Place, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAMS / "holds.py"), *place, *more]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"open {process.pid}\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=GUARD_S)  # the end of its input is that of a child it may have left


def test_a_process_that_is_killed_lets_the_next_one_in(
    where: Place, hold: Callable[..., subprocess.Popen[str]]
) -> None:
    process = hold(where)
    with pytest.raises(StoreLocked, match=rf"process {process.pid}\b"):
        open_storage(*where)
    process.kill()
    process.wait(GUARD_S)
    storage = open_storage(*where)
    assert stored_ids(storage) == ["held"]
    storage.close()


def test_one_that_ends_without_a_close_lets_the_next_one_in(
    where: Place, hold: Callable[..., subprocess.Popen[str]]
) -> None:
    process = hold(where)
    process.communicate("", timeout=GUARD_S)
    assert process.returncode == 0
    storage = open_storage(*where)
    assert stored_ids(storage) == ["held"]
    storage.close()


def test_a_child_that_outlives_its_parent_does_not_keep_the_file(
    tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]
) -> None:
    place = (str(tmp_path / "haulier.db"), "default")
    process = hold(place, "fork")
    with pytest.raises(StoreLocked):
        open_storage(*place)
    process.kill()
    process.wait(GUARD_S)
    assert process.stdout is not None
    storage = open_storage(*place)  # the child lives: it has the other end of its input
    assert stored_ids(storage) == ["held"]
    storage.close()


def test_a_lock_whose_file_is_removed_is_taken_again(
    tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]
) -> None:
    place = (str(tmp_path / "haulier.db"), "default")
    process = hold(place, "writes")
    (tmp_path / "haulier.db-lock").unlink()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "wrote\n"
    with pytest.raises(StoreLocked, match=rf"process {process.pid}\b"):
        open_storage(*place)


def test_one_whose_lock_was_taken_by_another_meanwhile_writes_no_more(
    tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]
) -> None:
    place = (str(tmp_path / "haulier.db"), "default")
    storage = open_storage(*place)
    (tmp_path / "haulier.db-lock").unlink()
    process = hold(place)
    with pytest.raises(StoreLocked, match=rf"process {process.pid}\b"):
        storage.write(Batch(forgotten=[("tidal", "held")]))
    process.communicate("", timeout=GUARD_S)
    with pytest.raises(StoreLocked, match="out of date"):
        storage.write(Batch(forgotten=[("tidal", "held")]))
    storage.close()
    storage = open_storage(*place)
    assert stored_ids(storage) == ["held"]
    (tmp_path / "haulier.db-lock").unlink()
    process = hold(place)
    storage.close()  # and leaves the other one its lock
    with pytest.raises(StoreLocked, match=rf"process {process.pid}\b"):
        open_storage(*place)


def test_of_many_that_want_a_lock_one_has_it(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAMS / "locks.py"), str(tmp_path / "haulier.db"), "3", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "200\n" * 3), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_is_told_so_and_the_parent_goes_on(durable: Any, make: Any) -> None:
    storage = durable.open()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with pytest.raises(ForkedEngine):
                storage.load()
            with pytest.raises(ForkedEngine):
                storage.write(Batch(added=[make.row("tidal", "child", 2)]))
            storage.close()
            with pytest.raises(StoreLocked, match="process"):
                durable.open()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0) == (pid, 0)
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert stored_ids(storage) == ["a", "b"]
    with pytest.raises(StoreLocked):
        durable.open()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(2))
def test_what_was_written_outlives_kill_9_between_any_two_statements(tmp_path: Path, seed: int) -> None:
    counts = killed(str(tmp_path / "haulier.db"), "default", 150, seed)
    assert counts["killed"] > 140
    assert counts["wrote"] > 200
    assert counts["died"] > 50
    assert {"INSERT INTO", "UPDATE downloads"} <= counts["statements"].keys()


@pytest.mark.timeout(180)
def test_what_was_written_to_postgres_outlives_kill_9(postgres: Any) -> None:
    counts = killed(postgres.url(), postgres.name(), 30, 0)
    assert counts["killed"] > 20
    assert counts["wrote"] > 60


def killed(where: str, name: str, rounds: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAMS / "killed.py"), where, name, str(rounds), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts
