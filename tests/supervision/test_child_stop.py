"""The end of a child and of all: from anywhere, twice, at once, in order, in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pykka
import pytest
import tenacity
from tests.supervision.workers import GUARD_S, Register, Worker, got

from haulier.supervision import Crashed, Restarted, RestartPolicy, Stopped, Supervisor

LONG_REST = RestartPolicy(wait=tenacity.wait_fixed(3600))

crashes = pytest.mark.expect_errors(r"^child \S+ crashed and (restarts|is down)")


class Held:
    """A message that keeps its actor until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, _: Any) -> str:
        self.begun.set()
        assert self.go.wait(GUARD_S)
        return "done"


def test_stop_ends_all_in_reverse_order_after_what_they_were_told(make_supervisor: Callable[[], Supervisor]) -> None:
    register = Register()
    with make_supervisor() as supervisor:
        refs = [supervisor.start(Worker, register) for _ in range(5)]
        threads: list[Any] = [ref.ask(lambda _: threading.current_thread(), timeout=GUARD_S) for ref in refs]
        register.notes.clear()
        for n, ref in enumerate(refs):
            ref.tell(n)
        refs[0].tell(lambda worker: setattr(worker, "on_stop", lambda: register.note("first stops")))
        refs[4].tell(lambda worker: setattr(worker, "on_stop", lambda: register.note("last stops")))
    assert sorted(got(register)) == [0, 1, 2, 3, 4]
    assert [note for note in register.notes if isinstance(note, str)] == ["last stops", *["stop"] * 3, "first stops"]
    assert not any(thread.is_alive() for thread in threads)
    assert [thread for thread in threading.enumerate() if thread.name == "haulier-supervision"] == []
    assert supervisor.stop() is True
    assert supervisor.children() == {}


def test_stop_before_start() -> None:
    assert Supervisor().stop() is True
    with Supervisor():
        pass


def test_a_ref_stops_its_child_for_good(supervisor: Supervisor, register: Register, heard: Register) -> None:
    class Looking(Worker):
        def on_stop(self) -> None:
            register.note((pykka.ActorRegistry.get_all(), self.actor_ref.is_alive()))

    ref = supervisor.start(Looking, register, restart="always")
    ref.tell(1)
    assert ref.stop(timeout=GUARD_S) is True
    assert register.notes == ["init", "start", ("got", 1), ([], False)]
    assert (ref.is_alive(), ref.actor_stopped.is_set()) == (False, True)
    assert ref.stop(timeout=GUARD_S) is False
    heard.wait_for(lambda event: isinstance(event, Stopped))
    assert supervisor.children() == {}
    assert supervisor.stop_child(ref) is True


@pytest.mark.parametrize("by", ["name", "ref"])
def test_stop_child(supervisor: Supervisor, register: Register, heard: Register, by: str) -> None:
    ref = supervisor.start(Worker, register, name="it")
    ref.tell(1)
    child: Any = {"name": "it", "ref": ref}[by]
    assert supervisor.stop_child(child, 1e300) is True
    assert register.notes == ["init", "start", ("got", 1), "stop"]
    assert (ref.is_alive(), supervisor.children(), supervisor.stop_child(child)) == (False, {}, True)
    again = supervisor.start(Worker, register, name="it")
    assert again.ask(2, timeout=GUARD_S) == 2


def test_stop_all_by_another_part_of_the_program_is_a_stop(supervisor: Supervisor, register: Register) -> None:
    class Foreign(pykka.ThreadingActor):
        use_daemon_thread = True

    foreign = Foreign.start()
    refs: list[pykka.ActorRef[Any]] = [supervisor.start(Worker, register, restart="always") for _ in range(3)]
    assert pykka.ActorRegistry.stop_all(timeout=GUARD_S) == [True] * 4
    assert not any(ref.is_alive() for ref in (foreign, *refs))
    assert register.notes == ["init", "start"] * 3 + ["stop"] * 3
    assert supervisor.stop(GUARD_S) is True


@crashes
def test_stop_all_reaches_one_that_rests_and_it_rests_no_longer(
    supervisor: Supervisor, register: Register, heard: Register
) -> None:
    ref = supervisor.start(Worker, register, policy=LONG_REST, name="it")
    ref.tell(ValueError())
    heard.wait_for(lambda event: isinstance(event, Crashed))
    assert supervisor.children()["it"].state == "resting"
    assert pykka.ActorRegistry.get_all() == [ref]
    assert pykka.ActorRegistry.stop_all(timeout=GUARD_S) == [True]
    heard.wait_for(lambda event: isinstance(event, Stopped))
    assert register.notes == ["init", "start", ("failure", ValueError)]  # nothing was left to do


@crashes
@pytest.mark.parametrize("how", ["ref", "stop_child", "stop"])
def test_one_that_rests_handles_what_it_was_told_before_it_stops(
    supervisor: Supervisor, register: Register, heard: Register, how: str
) -> None:
    ref = supervisor.start(Worker, register, policy=LONG_REST)
    for message in (ValueError(), 1, ValueError(), 2):
        ref.tell(message)
    heard.wait_for(lambda event: isinstance(event, Crashed))
    stop: dict[str, Callable[[], Any]] = {
        "ref": lambda: ref.stop(timeout=GUARD_S),
        "stop_child": lambda: supervisor.stop_child(ref, GUARD_S),
        "stop": lambda: supervisor.stop(GUARD_S),
    }
    assert stop[how]() is True
    assert (got(register), register.notes[-1]) == ([1, 2], "stop")


@crashes
@pytest.mark.parametrize("how", ["ref", "stop_child"])
def test_one_that_crashes_all_the_time_can_be_stopped(supervisor: Supervisor, heard: Register, how: str) -> None:
    class Broken(Worker):
        def on_start(self) -> None:
            raise OSError("still down")

    policy = RestartPolicy(intensity=3, period=60, wait=tenacity.wait_fixed(3600))
    ref = supervisor.start(Broken, Register(), policy=policy)
    heard.wait_for(lambda event: isinstance(event, Crashed))
    ref.tell("never handled")
    asked = ref.ask("never answered", block=False)
    assert (ref.stop(timeout=GUARD_S) if how == "ref" else supervisor.stop_child(ref, GUARD_S)) is True
    with pytest.raises(pykka.ActorDeadError, match="more than 3 restarts"):
        asked.get(timeout=GUARD_S)
    assert supervisor.children() == {}


@crashes
def test_stopping_one_that_is_down_forgets_it(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register, policy=RestartPolicy(intensity=0), name="it")
    child = supervisor._keeper.children["it"]
    ref.tell(ValueError())
    assert child.ended.wait(GUARD_S)
    assert supervisor.children()["it"].state == "down"
    assert supervisor.stop_child("it") is True
    assert supervisor.children() == {}


@pytest.mark.parametrize("how", ["stop_child", "stop"])
def test_one_that_does_not_stop_in_time_is_given_up_on(
    supervisor: Supervisor, register: Register, heard: Register, how: str
) -> None:
    held = Held()
    ref = supervisor.start(Worker, register, name="it")
    in_hand = ref.ask(held, block=False)
    assert held.begun.wait(GUARD_S)
    queued, stop = ref.ask("queued", block=False), ref.stop(block=False)
    assert (supervisor.stop_child(ref, 0.01) if how == "stop_child" else supervisor.stop(0.01)) is False
    for answer in (in_hand, queued):
        with pytest.raises(pykka.ActorDeadError, match="is stopped"):
            answer.get(timeout=GUARD_S)
    assert stop.get(timeout=GUARD_S) is True
    heard.wait_for(lambda event: isinstance(event, Stopped))
    assert [event.in_time for event in heard.of(Stopped)] == [False]
    assert (supervisor.children(), ref.is_alive()) == ({}, False)
    held.go.set()
    register.wait_for("stop")  # late, but it comes to a proper end
    assert register.notes == ["init", "start", "stop"]


def test_nobody_asks_when_one_that_was_given_up_on_is_to_live_again(supervisor: Supervisor, register: Register) -> None:
    waits: list[Any] = []
    threads: list[threading.Thread] = []
    held = Held()

    def crash(worker: Worker) -> None:
        threads.append(threading.current_thread())
        held(worker)
        raise ValueError("late")

    ref = supervisor.start(Worker, register, policy=RestartPolicy(wait=waits.append))
    ref.tell(crash)
    assert held.begun.wait(GUARD_S)
    assert supervisor.stop_child(ref, 0) is False
    held.go.set()
    threads[0].join(GUARD_S)
    assert register.notes == ["init", "start", ("failure", ValueError)]
    assert (waits, supervisor.children()) == ([], {})


def test_a_handler_can_see_that_it_is_given_up_on(supervisor: Supervisor, register: Register) -> None:
    begun = threading.Event()

    def works(worker: Worker) -> None:
        begun.set()
        assert worker.actor_stopped.wait(GUARD_S)

    ref = supervisor.start(Worker, register)
    ref.tell(works)
    assert begun.wait(GUARD_S)
    assert supervisor.stop_child(ref, 0) is False
    register.wait_for("stop")


def test_from_its_own_handler(supervisor: Supervisor, register: Register, heard: Register) -> None:
    """A child that waited for its own end would wait for ever."""
    refs = [supervisor.start(Worker, register, restart="always") for _ in range(3)]
    assert refs[0].ask(lambda worker: worker.actor_ref.stop(), timeout=GUARD_S) is True
    assert refs[1].ask(lambda worker: supervisor.stop_child(worker.actor_ref), timeout=GUARD_S) is False
    assert refs[2].ask(lambda worker: pykka.ActorRegistry.stop_all(), timeout=GUARD_S) in (
        [True],
        [True] * 2,
        [True] * 3,
    )
    heard.wait_for(lambda event: isinstance(event, Stopped), 3)
    assert register.notes.count("stop") == 3


def test_stop_from_several_children_and_threads_at_once(
    supervisor: Supervisor, register: Register, at_once: Callable[..., list[Any]]
) -> None:
    refs = [supervisor.start(Worker, register) for _ in range(4)]
    together = threading.Barrier(4)

    def stop(_: Worker) -> bool:
        together.wait(GUARD_S)
        return supervisor.stop(GUARD_S)

    asked = [ref.ask(stop, block=False) for ref in refs]
    assert at_once(*[lambda: supervisor.stop(GUARD_S)] * 3) == [True] * 3
    assert [answer.get(timeout=GUARD_S) for answer in asked] == [False] * 4
    assert register.notes.count("stop") == 4
    assert supervisor.children() == {}


@pytest.mark.parametrize("how", ["stop", "stop_child"])
@pytest.mark.parametrize("where", ["supervisor", "mailbox"])
def test_a_signal_handler_in_the_middle_of_a_step_does_not_wait(
    supervisor: Supervisor, register: Register, where: str, how: str
) -> None:
    """The locks that its own thread holds are not let go before it returns."""
    ref = supervisor.start(Worker, register)
    lock = {"supervisor": supervisor._keeper.lock, "mailbox": ref.actor_inbox._lock}[where]  # type: ignore[attr-defined]
    with lock:
        assert (supervisor.stop(None) if how == "stop" else supervisor.stop_child(ref, None)) is False
    assert supervisor.stop(GUARD_S) is True
    assert register.notes == ["init", "start", "stop"]


def test_stop_from_on_stop_and_from_a_subscriber(supervisor: Supervisor, heard: Register) -> None:
    results: list[Any] = []

    class Last(pykka.ThreadingActor):
        use_daemon_thread = True

        def on_stop(self) -> None:
            results.append(supervisor.stop())

    heard_stop = Register()
    supervisor.subscribe(lambda _: heard_stop.note(supervisor.stop(GUARD_S)))
    ref = supervisor.start(Last)
    ref.stop(timeout=GUARD_S)
    heard_stop.wait_for(True)
    assert results == [False]


@pytest.mark.expect_errors(r"^on_stop of it failed")
def test_on_stop_that_fails_is_still_a_stop(supervisor: Supervisor, heard: Register) -> None:
    class Bad(pykka.ThreadingActor):
        use_daemon_thread = True

        def on_stop(self) -> None:
            raise SystemExit

    ref = supervisor.start(Bad, restart="always", name="it")
    assert ref.stop(timeout=GUARD_S) is True
    heard.wait_for(lambda event: isinstance(event, Stopped))
    assert (supervisor.children(), ref.is_alive()) == ({}, False)


def test_asks_are_refused_while_on_stop_runs_and_stops_wait_for_it(supervisor: Supervisor, register: Register) -> None:
    busy, ending = Held(), Held()

    class Slow(Worker):
        def on_stop(self) -> None:
            ending(self)
            super().on_stop()

    ref = supervisor.start(Slow, register)
    ref.tell(busy)
    assert busy.begun.wait(GUARD_S)
    stops = [ref.stop(block=False), ref.stop(block=False)]
    queued = [ref.ask("queued", block=False), ref.ask("queued, too", block=False)]
    busy.go.set()
    assert ending.begun.wait(GUARD_S)
    for answer in queued:
        with pytest.raises(pykka.ActorDeadError):
            answer.get(timeout=GUARD_S)
    assert ref.stop(timeout=GUARD_S) is False
    threading.Timer(0.02, ending.go.set).start()
    for stop in reversed(stops):
        assert stop.get(timeout=GUARD_S) is True
        assert register.notes[-1] == "stop"


def test_a_deadline_does_not_meet_one_that_is_over(supervisor: Supervisor, register: Register, heard: Register) -> None:
    stops = supervisor.start(Worker, register)
    rests = supervisor.start(Worker, register, restart="always", policy=RestartPolicy(wait=tenacity.wait_fixed(0.1)))
    stops.ask(lambda worker: supervisor.stop_child(worker.actor_ref, 0.05), timeout=GUARD_S)
    assert supervisor.stop_child(stops, GUARD_S)
    rests.tell(lambda worker: worker.stop())
    assert rests.ask("later than the deadline", timeout=GUARD_S)
    heard.wait_for(lambda event: isinstance(event, Restarted))
    assert [event.in_time for event in heard.of(Stopped)] == [True]


def test_bad_arguments(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register, name="taken")
    for wrong, error in (
        (lambda: supervisor.start(Worker), TypeError),
        (lambda: supervisor.start(object), TypeError),  # type: ignore[type-var]
        (lambda: supervisor.start(Worker(register)), TypeError),  # type: ignore[arg-type]
        (lambda: supervisor.start(pykka.ThreadingActor, restart="sometimes"), ValueError),  # type: ignore[arg-type]
        (lambda: supervisor.start(Worker, register, policy=3), TypeError),  # type: ignore[arg-type]
        (lambda: supervisor.start(Worker, register, name="taken"), ValueError),
        (lambda: supervisor.start(Worker, register, name=""), ValueError),
        (lambda: supervisor.start(Worker, register, name=7), TypeError),  # type: ignore[arg-type]
        (lambda: supervisor.stop(-1), ValueError),
        (lambda: supervisor.stop_child(ref, float("nan")), ValueError),
        (lambda: supervisor.stop_child(7), TypeError),  # type: ignore[arg-type]
        (lambda: supervisor.subscribe(7), TypeError),  # type: ignore[arg-type]
        (lambda: supervisor.subscribe(print, capacity=0), ValueError),
    ):
        with pytest.raises(error):
            wrong()
    assert list(supervisor.children()) == ["taken"]
