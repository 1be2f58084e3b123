"""Who is started again and when; who is down, and how one learns of it."""

from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest
import tenacity
from tests.supervision.workers import AT_ONCE, GUARD_S, Register, Worker, got

from haulier.supervision import Crashed, Down, Missed, Restarted, RestartPolicy, Stopped, Supervisor, SupervisorStopped

pytestmark = pytest.mark.expect_errors(r"^child \S+ (crashed|stopped itself) and (restarts|is down)")


def crash(ref: pykka.ActorRef[Any]) -> None:
    """Kill it and wait for the next life."""
    ref.tell(ValueError())
    ref.ask("alive", timeout=GUARD_S)


def test_the_rest_is_the_policys_and_starts_anew_after_a_calm_time(supervisor: Supervisor, register: Register) -> None:
    attempts: list[int] = []
    causes: list[Any] = []

    def wait(state: tenacity.RetryCallState) -> float:
        attempts.append(state.attempt_number)
        causes.append(state.outcome and type(state.outcome.exception()))
        return 0.0

    ref = supervisor.start(Worker, register, policy=RestartPolicy(intensity=100, wait=wait, calm=60.0))
    calm = supervisor.start(Worker, Register(), policy=RestartPolicy(intensity=100, wait=wait, calm=0.0))
    for _ in range(3):
        crash(ref)
    assert (attempts, causes) == ([1, 2, 3], [ValueError] * 3)
    attempts.clear()
    for _ in range(3):
        crash(calm)  # any time is calm enough
    assert attempts == [1, 1, 1]


def test_it_rests_as_long_as_the_policy_says(supervisor: Supervisor, register: Register, heard: Register) -> None:
    ref = supervisor.start(Worker, register, policy=RestartPolicy(wait=tenacity.wait_fixed(0.1)), name="it")
    crash(ref)
    heard.wait_for(lambda event: isinstance(event, Restarted))
    assert 0.0 < heard.of(Crashed)[0].rests_s <= 0.1
    assert heard.of(Restarted)[0][:2] == ("it", 1)


def test_too_often_is_down_and_nobody_else_is(supervisor: Supervisor, register: Register, heard: Register) -> None:
    policy = RestartPolicy(intensity=2, period=60, wait=lambda _: 0.0)
    ref = supervisor.start(Worker, register, policy=policy, name="it")
    other = supervisor.start(Worker, Register(), policy=policy, name="other")
    failure = ValueError("the last one")
    crash(ref)
    crash(ref)
    ref.tell(failure)
    heard.wait_for(lambda event: isinstance(event, Down))
    assert [event[:3] for event in heard.of(Down)] == [("it", failure, "more than 2 restarts within 60 s")]
    crash(other)
    it = supervisor.children()["it"]
    assert it == ("it", ref, "down", 2, 0, failure, "more than 2 restarts within 60 s")
    assert supervisor.children()["other"].state == "running"
    assert pykka.ActorRegistry.get_all() == [other]
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()


def test_revive_starts_it_again_and_counts_anew(supervisor: Supervisor, register: Register, heard: Register) -> None:
    policy = RestartPolicy(intensity=1, period=60, wait=lambda _: 0.0)
    ref = supervisor.start(Worker, register, policy=policy, name="it")
    for by in ("it", ref):
        crash(ref)
        ref.tell(ValueError())
        heard.wait_for(lambda event: isinstance(event, Down), 1 if by == "it" else 2)
        supervisor.revive(by)
        assert ref.ask("revived", timeout=GUARD_S) == "revived"
        assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is ref
        status = supervisor.children()["it"]
        assert (status.state, status.reason, status.ref) == ("running", None, ref)
    supervisor.revive(ref)  # one that runs is left as it is
    assert pykka.ActorRegistry.get_all() == [ref]
    crash(ref)
    assert register.notes.count("init") == 6
    with pytest.raises(LookupError, match="nobody"):
        supervisor.revive("nobody")


def test_never_is_gone_after_a_crash(supervisor: Supervisor, register: Register, heard: Register) -> None:
    ref = supervisor.start(Worker, register, restart="never", name="it")
    ref.tell(ValueError())
    heard.wait_for(lambda event: isinstance(event, Down))
    assert (supervisor.children(), pykka.ActorRegistry.get_all(), ref.is_alive()) == ({}, [], False)
    assert register.notes == ["init", "start", ("failure", ValueError)]
    with pytest.raises(LookupError):
        supervisor.revive(ref)


@pytest.mark.parametrize("restart", ["always", "on_failure", "never"])
def test_one_that_stops_itself_is_started_again_only_if_always(
    supervisor: Supervisor, register: Register, heard: Register, restart: Any
) -> None:
    ref = supervisor.start(Worker, register, restart=restart, policy=AT_ONCE, name="it")
    begun, go = threading.Event(), threading.Event()

    def stop(worker: Worker) -> None:
        begun.set()
        assert go.wait(GUARD_S)
        worker.stop()

    ref.tell(stop)
    assert begun.wait(GUARD_S)
    before = ref.ask("before", block=False)
    go.set()
    assert before.get(timeout=GUARD_S) == "before"
    if restart == "always":
        heard.wait_for(lambda event: isinstance(event, Restarted))
        assert ref.ask("after", timeout=GUARD_S) == "after"
        assert register.notes == ["init", "start", ("got", "before"), "stop", "init", "start", ("got", "after")]
        assert (heard.of(Crashed), supervisor.children()["it"].failure) == ([], None)
        assert ref.stop(timeout=GUARD_S)  # from outside it is meant
    heard.wait_for(lambda event: isinstance(event, Stopped))
    assert register.notes[-1] == "stop"
    assert (ref.is_alive(), supervisor.children()) == (False, {})


def test_one_that_always_stops_itself_is_down_in_the_end(supervisor: Supervisor, heard: Register) -> None:
    class Brief(pykka.ThreadingActor):
        use_daemon_thread = True

        def on_start(self) -> None:
            self.stop()

    supervisor.start(Brief, restart="always", policy=RestartPolicy(2, 60, wait=lambda _: 0.0), name="it")
    heard.wait_for(lambda event: isinstance(event, Down))
    assert [event[:3] for event in heard.of(Down)] == [("it", None, "more than 2 restarts within 60 s")]
    supervisor.revive("it")
    heard.wait_for(lambda event: isinstance(event, Down), 2)


@pytest.mark.expect_errors(r"^a subscriber failed on Crashed")
def test_a_subscriber_that_fails_or_blocks_holds_up_nobody(supervisor: Supervisor, register: Register) -> None:
    go, calls, well = threading.Event(), Register(), Register()

    def fails(event: Any) -> None:
        calls.note(event)
        if isinstance(event, Crashed):
            raise SystemExit

    def blocks(event: Any) -> None:
        assert go.wait(GUARD_S)

    late = Register()
    with supervisor.subscribe(fails), supervisor.subscribe(blocks), supervisor.subscribe(late, capacity=1):
        supervisor.subscribe(well)
        ref = supervisor.start(Worker, register, policy=AT_ONCE)
        for _ in range(10):
            crash(ref)
        well.wait_for(lambda event: isinstance(event, Restarted), 10)
        calls.wait_for(lambda event: isinstance(event, Restarted), 10)
        go.set()
    assert len(late.of(Crashed)) + len(late.of(Restarted)) + sum(event.events for event in late.of(Missed)) == 20


def test_events_in_order(supervisor: Supervisor, register: Register, heard: Register) -> None:
    ref = supervisor.start(Worker, register, policy=AT_ONCE, name="it")
    crash(ref)
    ref.stop()
    heard.wait_for(lambda event: isinstance(event, Stopped))
    assert [type(event) for event in heard.notes] == [Crashed, Restarted, Stopped]
    assert {event.child for event in heard.notes} == {"it"}
    assert heard.notes[-1].in_time is True


def test_an_actor_may_start_and_revive_others(supervisor: Supervisor, register: Register) -> None:
    def start(worker: Worker) -> Any:
        return supervisor.start(type(worker), worker.register, policy=AT_ONCE, name="theirs")

    ref = supervisor.start(Worker, register, policy=AT_ONCE, name="mine")
    theirs: Any = ref.ask(start, timeout=GUARD_S)
    crash(ref)
    crash(theirs)
    assert got(register) == ["alive", "alive"]
    assert list(supervisor.children()) == ["mine", "theirs"]


def test_nothing_starts_after_the_end(supervisor: Supervisor, register: Register) -> None:
    supervisor.stop()
    for call in (
        lambda: supervisor.start(Worker, register),
        lambda: supervisor.revive("it"),
        lambda: supervisor.subscribe(print),
    ):
        with pytest.raises(SupervisorStopped):
            call()
    assert (supervisor.children(), register.notes) == ({}, [])
