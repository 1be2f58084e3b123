"""Each kind of crash of a supervised actor, on real threads: what it costs, and that the next life goes on."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import threading
import weakref
from typing import Any

import pykka
import pytest
from tests.supervision.workers import AT_ONCE, GUARD_S, Register, Worker, got

from haulier.supervision import Crashed, Restarted, Supervisor

pytestmark = pytest.mark.expect_errors(r"^child \S+ crashed and restarts")


class Plain(pykka.ThreadingActor):
    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        return message


@pytest.mark.parametrize("crash", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_an_exception_in_a_told_message_costs_that_message_alone(
    supervisor: Supervisor, register: Register, heard: Register, crash: BaseException
) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    sibling, foreign = supervisor.start(Worker, Register(), policy=AT_ONCE), Plain.start()
    for message in (1, crash, 2):
        ref.tell(message)
    assert ref.ask(3, timeout=GUARD_S) == 3
    assert register.notes == [
        "init", "start", ("got", 1), ("failure", type(crash)), "init", "start", ("got", 2), ("got", 3),
    ]  # fmt: skip
    heard.wait_for(lambda event: isinstance(event, Restarted))
    assert [event.failure for event in heard.of(Crashed)] == [crash]
    assert supervisor.children()[heard.of(Crashed)[0].child].failure is crash
    assert [child.restarts for child in supervisor.children().values()] == [1, 0]
    assert (sibling.ask(4, timeout=GUARD_S), foreign.ask(5, timeout=GUARD_S)) == (4, 5)
    foreign.stop()


def test_an_exception_in_an_asked_message_is_the_askers(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register)
    with pytest.raises(ValueError, match="for you"):
        ref.ask(ValueError("for you"), timeout=GUARD_S)
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert register.notes == ["init", "start", ("got", 1)]


@pytest.mark.parametrize("crash", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_ask_that_kills_says_so(supervisor: Supervisor, register: Register, crash: BaseException) -> None:
    """As a cause: SystemExit itself would end the asker as well."""
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    with pytest.raises(pykka.ActorDeadError, match=r"Worker \(urn:\S+\) crashed: ") as dead:
        ref.ask(crash, timeout=GUARD_S)
    assert dead.value.__cause__ is crash
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert register.notes == ["init", "start", ("failure", type(crash)), "init", "start", ("got", 1)]


@pytest.mark.parametrize("where", ["__init__", "on_start"])
@pytest.mark.parametrize("failure", [OSError("not yet"), SystemExit()])
def test_a_start_that_fails_twice_and_then_works(
    supervisor: Supervisor, register: Register, where: str, failure: BaseException
) -> None:
    lives = iter((None, failure, failure, None))
    failed: list[pykka.ThreadingActor] = []

    class Reluctant(Worker):
        def __init__(self, register: Register) -> None:
            if where == "__init__" and (due := next(lives)):
                raise due
            super().__init__(register)

        def on_start(self) -> None:
            if where == "on_start" and (due := next(lives)):
                failed.append(self)
                raise due
            super().on_start()

    ref = supervisor.start(Reluctant, register, policy=AT_ONCE)
    ref.tell(ValueError())
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert register.notes.count("start") == 2
    assert [child.restarts for child in supervisor.children().values()] == [3]
    assert [actor.actor_stopped.is_set() for actor in failed] == ([True] * 2 if where == "on_start" else [])


def test_init_raises_in_the_caller_at_the_first_start(supervisor: Supervisor) -> None:
    refs = []

    class Broken(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            refs.append(self.actor_ref)
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        supervisor.start(Broken)
    assert supervisor.children() == {}
    with pytest.raises(pykka.ActorDeadError):
        refs[0].ask("hello", timeout=GUARD_S)


def test_on_start_that_fails_at_the_first_start_is_a_crash(supervisor: Supervisor, register: Register) -> None:
    failures = iter((OSError(),))

    class Late(Worker):
        def on_start(self) -> None:
            for failure in failures:
                raise failure
            super().on_start()

    ref = supervisor.start(Late, register, policy=AT_ONCE)
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert register.notes == ["init", "init", "start", ("got", 1)]


def test_a_loop_that_ends_without_a_word_is_a_crash(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    ref.tell(lambda worker: worker.actor_stopped.set())
    assert ref.ask(1, timeout=GUARD_S) == 1
    assert register.notes == ["init", "start", "init", "start", ("got", 1)]
    (child,) = supervisor.children().values()
    assert repr(child.failure) == "RuntimeError('its thread ended without a report')"


def test_a_thread_that_dies_in_silence_is_noticed(
    supervisor: Supervisor, register: Register, heard: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would tell of its end fails, as it can where an exception is injected: only the thread itself is gone."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    ref = supervisor.start(Worker, register, policy=AT_ONCE)

    def kill(frame: Any, event: str, arg: Any) -> None:
        if frame.f_code.co_name == "_ended":
            raise SystemExit

    def arm(_: Worker) -> None:
        sys.settrace(kill)
        raise ValueError("first")

    silent = ref.ask(arm, block=False)  # an exception in an ask is no crash: the trace is armed from here on
    with pytest.raises(ValueError, match="first"):
        silent.get(timeout=GUARD_S)
    ref.tell(OSError("last words"))
    assert ref.ask(1, timeout=GUARD_S) == 1
    heard.wait_for(lambda event: isinstance(event, Restarted))
    assert [repr(event.failure) for event in heard.of(Crashed)] == ["OSError('last words')"]


def test_whoever_asked_a_thread_that_died_in_silence_is_answered(
    supervisor: Supervisor, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    threads: list[threading.Thread] = []
    begun = threading.Event()

    def hold(_: Worker) -> None:
        threads.append(threading.current_thread())
        begun.set()
        sum(1 for n in range(10**9))

    answer = ref.ask(hold, block=False)
    behind = ref.ask(1, block=False)
    assert begun.wait(GUARD_S)
    inject_until_dead(threads[0])
    with pytest.raises(pykka.ActorDeadError):
        answer.get(timeout=GUARD_S)
    assert behind.get(timeout=GUARD_S) == 1


def test_whoever_asked_is_answered_even_if_the_dying_thread_cannot(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE)

    def kill(frame: Any, event: str, arg: Any) -> None:
        if frame.f_code.co_name == "drop_in_hand":
            raise OSError("in the middle of it")

    def die(_: Worker) -> None:
        sys.settrace(kill)
        raise SystemExit

    with pytest.raises(pykka.ActorDeadError, match="in the middle of it"):
        ref.ask(die, timeout=GUARD_S)
    assert ref.ask(1, timeout=GUARD_S) == 1


def inject_until_dead(thread: threading.Thread) -> None:
    """Whatever the thread does to end properly is interrupted as well."""
    while thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        thread.join(0.0)


def test_an_exception_injected_into_an_idle_actor_costs_no_message(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE)
    for n in range(200):
        ident: Any = ref.ask(lambda _: threading.get_ident(), timeout=GUARD_S)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(ZeroDivisionError))
        assert ref.ask(n, timeout=GUARD_S) == n
    assert got(register) == list(range(200))
    (child,) = supervisor.children().values()
    assert child.restarts == 200


@pytest.mark.expect_errors(r"^on_failure of insistent failed")
def test_on_failure_may_tell_the_next_life_and_may_fail(
    supervisor: Supervisor, register: Register, logged_errors: list[Any]
) -> None:
    class Insistent(Worker):
        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            assert sys.exc_info()[1] is exception_value
            self.actor_ref.tell(("again", str(exception_value)))
            raise SystemExit("on_failure, too")

    ref = supervisor.start(Insistent, register, policy=AT_ONCE, name="insistent")
    ref.tell(ValueError("this"))
    register.wait_for(("got", ("again", "this")))
    assert logged_errors[0].getMessage() == "on_failure of insistent failed"


def test_a_dead_life_holds_nothing(supervisor: Supervisor, register: Register) -> None:
    """Neither the failure that is kept nor a proxy keeps alive what the actor had: a port, say, that the next needs."""

    class Resource:
        pass

    resources: list[weakref.ref[Resource]] = []

    class Holder(Worker):
        def __init__(self, register: Register) -> None:
            super().__init__(register)
            self.resource = Resource()
            resources.append(weakref.ref(self.resource))

    ref = supervisor.start(Holder, register, policy=AT_ONCE)
    proxy = ref.proxy()
    assert proxy.double(4).get(timeout=GUARD_S) == 8

    def fail(mine: Resource) -> None:
        raise ValueError(str(type(mine)))

    def crash(worker: Any) -> None:
        try:
            fail(worker.resource)
        except ValueError as error:
            raise KeyError("x") from error

    ref.tell(crash)
    assert ref.ask(1, timeout=GUARD_S) == 1
    gc.collect()
    assert [resource() is None for resource in resources] == [True, False]
    assert proxy.double(5).get(timeout=GUARD_S) == 10
    (child,) = supervisor.children().values()
    assert isinstance(child.failure, KeyError)
    assert child.failure.__traceback__ is not None


def test_dead_actors_leave_no_thread(supervisor: Supervisor, register: Register) -> None:
    refs = [supervisor.start(Worker, register, policy=AT_ONCE) for _ in range(3)]
    before = threading.active_count()
    for n in range(100):
        for ref in refs:
            ref.tell(ValueError())
            assert ref.ask(n, timeout=GUARD_S) == n
    assert threading.active_count() == before
    assert register.notes.count("init") == 303
