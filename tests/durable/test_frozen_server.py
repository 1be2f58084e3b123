"""A PostgreSQL server that does not answer keeps neither ``close(timeout=…)`` nor the interpreter's exit waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from tests.durable.downloads import fetch
from tests.storage.wire import Wire
from tests.waiting import GUARD_S, wait_until

from haulier import DownloadEngine, HaulierError, Wanted

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.expect_errors("the storage does not answer", "cannot write; trying again", "the last changes are lost"),
]

PROGRAM = Path(__file__).parent / "programs" / "frozen.py"


@pytest.fixture
def freeze() -> Iterator[Callable[[int], None]]:
    """``freeze(pid)`` stops a process until the test ends."""
    frozen: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        frozen.append(pid)

    yield stop
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def engine(make_engine: Any, postgres: Any) -> Any:
    made = make_engine(store=postgres.url(), name=postgres.name())
    made.register_source("s")
    made.pause("s")
    return made


def backend(engine: Any) -> int:
    return int(engine._system.store.storage._connection.info.backend_pid)


def postmaster(postgres: Any) -> int:
    return int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])


def hang(engine: DownloadEngine) -> tuple[Thread, list[BaseException]]:
    """A thread whose dispatch waits for the server."""
    raised: list[BaseException] = []

    def dispatch() -> None:
        try:
            engine.worker.dispatch("s", 1, "n", "f", fetch)
        except HaulierError as error:
            raised.append(error)

    thread = Thread(target=dispatch)
    thread.start()
    store: Any = engine._system.store
    wait_until(lambda: store._drainer is not None, "the store to write")
    return thread, raised


@pytest.mark.parametrize("drain", [False, True])
def test_close_gives_up_on_a_server_that_is_frozen(
    engine: DownloadEngine, freeze: Callable[[int], None], drain: bool
) -> None:
    [queued] = engine.worker.dispatch_many("s", [Wanted(1, "n", "f")], fetch)
    freeze(backend(engine))
    thread, raised = hang(engine)
    engine.close(drain=drain, timeout=0.1)
    thread.join(GUARD_S)
    assert not thread.is_alive()
    assert "the engine is closed" in str(raised)
    assert (engine.get_record("s", queued) or {})["phase"] == "queued"
    assert not engine._system.store.running, "its thread has ended"


def test_close_gives_up_on_a_network_that_drops_everything(
    postgres: Any, make_engine: Any, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("w")
    [server] = (each for each in postgres.folder.glob(".s.PGSQL.*") if each.suffix != ".lock")
    wire = Wire(folder, server)
    try:
        engine = make_engine(store=postgres.url(host=folder), name=postgres.name())
        engine.register_source("s")
        engine.pause("s")
        wire.swallow()
        thread, raised = hang(engine)
        engine.close(timeout=0.1)
        thread.join(GUARD_S)
        assert not thread.is_alive()
        assert len(raised) == 1
    finally:
        wire.close()


def test_close_gives_up_on_a_server_that_does_not_let_it_reconnect(
    engine: DownloadEngine, postgres: Any, freeze: Callable[[int], None]
) -> None:
    lost = backend(engine)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (lost,))
    freeze(postmaster(postgres))
    thread, raised = hang(engine)
    storage: Any = engine._system.store.storage  # type: ignore[attr-defined]
    wait_until(lambda: storage._line._answers is not None, "the store to connect")
    engine.close(timeout=0.1)
    thread.join(GUARD_S)
    assert not thread.is_alive()
    assert len(raised) == 1
    os.kill(postmaster(postgres), signal.SIGCONT)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        wait_until(lambda: not admin.execute(OPEN, (lost,)).fetchall(), "the late connection to close")


OPEN = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'haulier %%' AND pid <> %s"


def test_a_server_that_answers_in_time_is_not_given_up_on(engine: DownloadEngine, postgres: Any) -> None:
    ids = engine.worker.dispatch_many("s", [Wanted(n, "n", "f") for n in range(20)], fetch)
    name = engine._system.store.storage._schema.removeprefix("haulier_")  # type: ignore[attr-defined]
    engine.close(timeout=0.0)
    with DownloadEngine(store=postgres.url(), name=name) as again:
        assert [record["id"] for record in again.get_all_downloads()] == ids


def test_the_exit_of_a_program_does_not_wait_for_a_frozen_server(postgres: Any) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), postgres.url(), postgres.name()], capture_output=True, text=True, timeout=GUARD_S
    )
    pid = int(done.stdout.split()[0])
    os.kill(pid, signal.SIGCONT)
    assert (done.returncode, done.stdout.split()[1:]) == (0, ["waits"]), done.stderr
