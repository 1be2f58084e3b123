"""What keeps the actors alive is kept alive: no thread to be had, exceptions out of nowhere, a thread that dies."""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import Any

import pykka
import pytest
from tests.supervision.workers import AT_ONCE, GUARD_S, Register, Worker

from haulier.supervision import Crashed, RestartPolicy, Supervisor
from haulier.supervision.life import Life

pytestmark = pytest.mark.expect_errors(r"^child \S+ crashed and restarts")


@pytest.mark.expect_errors(r"^cannot start a thread for child worker, trying again: RuntimeError")
def test_no_thread_to_be_had_at_a_restart_is_tried_again(
    supervisor: Supervisor, register: Register, monkeypatch: pytest.MonkeyPatch, logged_errors: list[Any]
) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE, name="worker")
    refused = threading.Event()
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "worker" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    ref.tell(ValueError())
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert refused.is_set()
    (child,) = supervisor.children().values()
    assert child.restarts == 1
    texts = [record.getMessage() for record in logged_errors]
    words = """cannot start a thread for child worker, trying again: RuntimeError("can't start new thread")"""
    assert texts[1:] == [words]


def test_no_thread_to_be_had_at_the_first_start(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            supervisor.start(Worker, Register())
    assert (supervisor.children(), pykka.ActorRegistry.get_all()) == ({}, [])
    assert supervisor.start(Worker, Register()).ask(1, timeout=GUARD_S) == 1


@pytest.mark.expect_errors(
    r"^the supervisor failed to handle a message", r"^cannot start a thread for child \S+, .*SystemExit"
)
def test_the_supervisor_survives_what_is_thrown_at_its_own_thread(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    (own,) = own_threads()
    for n in range(20):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(own.ident or 0), ctypes.py_object(SystemExit))
        ref.tell(ValueError())
        assert ref.ask(n, timeout=GUARD_S) == n
    assert register.notes.count("init") == 21


def test_the_supervisors_own_thread_is_replaced_if_it_dies(
    supervisor: Supervisor, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    (own,) = own_threads()

    def broken_filter(record: logging.LogRecord) -> bool:
        raise SystemExit

    logger = logging.getLogger("haulier.supervision")
    logger.addFilter(broken_filter)
    try:
        ref.tell(ValueError())  # the line that says so raises, and the one that says that as well
        own.join(GUARD_S)
    finally:
        logger.removeFilter(broken_filter)
    assert not own.is_alive()
    supervisor.children()
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert own_threads() not in ([], [own])
    assert register.notes.count("init") == 2


@pytest.mark.expect_errors(r"^the supervisor failed to handle a message \[MemoryError")
def test_a_next_life_that_could_not_even_be_made_is_not_forgotten(
    supervisor: Supervisor, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    failures = iter((MemoryError(),))

    class Scarce(Life):
        def __init__(self, *args: Any) -> None:
            for failure in failures:
                raise failure
            super().__init__(*args)

    monkeypatch.setattr("haulier.supervision.keeper.Life", Scarce)
    ref.tell(ValueError())
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert list(failures) == []


def test_a_next_life_whose_start_is_interrupted_lives_once(
    supervisor: Supervisor, register: Register, heard: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after the thread began, or before it was made: in both cases there is exactly one next life."""
    ref = supervisor.start(Worker, register, policy=AT_ONCE, name="begun")
    begun = threading.Event()
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        real(thread)
        if thread.name == "begun" and not begun.is_set():
            register.wait_for("start", 2)
            begun.set()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        ref.tell(ValueError())
        assert ref.ask(1, timeout=GUARD_S) == 1
        assert begun.wait(GUARD_S)
    keeper = supervisor._keeper
    rests = supervisor.start(Worker, Register(), policy=RestartPolicy(wait=lambda _: 3600.0), name="unmade")
    rests.tell(ValueError())
    heard.wait_for(lambda event: isinstance(event, Crashed) and event.child == "unmade")
    with keeper.lock:
        child = keeper.children["unmade"]
        child.life, child.state = Life(child, None, keeper._ended), "running"
    assert rests.ask(1, timeout=GUARD_S) == 1
    assert register.notes.count("init") == 2


def test_there_is_never_a_second_thread_of_its_own(
    supervisor: Supervisor, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that was interrupted, and comes about when another one has been made."""
    real = threading.Thread.start
    late: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if thread.name == "haulier-supervision" and not late:
            late.append(thread)
            raise KeyboardInterrupt
        real(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt):
            supervisor.start(Worker, register)
        ref = supervisor.start(Worker, register, policy=AT_ONCE)
    late[0].start()
    late[0].join(GUARD_S)
    assert not late[0].is_alive()
    ref.tell(ValueError())
    assert ref.ask(1, timeout=GUARD_S) == 1


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "haulier-supervision"]


@pytest.mark.expect_errors(r"^child broken crashed and is down: ")
def test_a_wait_that_blocks_or_fails_holds_up_its_own_child_alone(supervisor: Supervisor, register: Register) -> None:
    held, waiting = threading.Event(), threading.Event()

    def wait(_: Any) -> float:
        waiting.set()
        assert held.wait(GUARD_S)
        return 0.0

    blocked = supervisor.start(Worker, Register(), policy=RestartPolicy(wait=wait))
    broken = supervisor.start(Worker, Register(), policy=RestartPolicy(wait=lambda _: 1 / 0), name="broken")
    well = supervisor.start(Worker, register, policy=AT_ONCE)
    blocked.tell(ValueError())
    assert waiting.wait(GUARD_S)
    broken.tell(ValueError())
    well.tell(ValueError())
    assert well.ask(1, timeout=GUARD_S) == 1
    with pytest.raises(pykka.ActorDeadError):
        broken.ask(1, timeout=GUARD_S)
    assert supervisor.children()["broken"].reason == "its restart policy failed: ZeroDivisionError"
    held.set()
    assert blocked.ask(1, timeout=GUARD_S) == 1
