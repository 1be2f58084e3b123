"""The mailbox outlives the actors: what is told is handled exactly once, and whoever asks is answered."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope
from tests.supervision.workers import AT_ONCE, GUARD_S, Register, Worker, got

from haulier.supervision import RestartPolicy, Supervisor
from haulier.supervision.mailbox import ChildMailbox

pytestmark = pytest.mark.expect_errors(r"^child \S+ crashed and (restarts|is down)")


class Counting(pykka.ThreadingActor):
    """Keeps what it handled in a list that outlives it; every so often one kills it."""

    use_daemon_thread = True

    def __init__(self, handled: list[Any], alone: threading.Lock | None = None) -> None:
        super().__init__()
        self._handled = handled
        self._alone = alone or threading.Lock()

    def on_receive(self, message: Any) -> Any:
        assert self._alone.acquire(blocking=False), "two lives at once"
        try:
            if isinstance(message, type):
                raise message("killer")
            self._handled.append(message)
            return message
        finally:
            self._alone.release()


def test_thousands_of_tells_from_several_threads_while_it_crashes_many_times(
    supervisor: Supervisor, at_once: Callable[..., list[Any]]
) -> None:
    handled: list[tuple[int, int]] = []
    ref = supervisor.start(Counting, handled, threading.Lock(), policy=AT_ONCE)

    def tell(thread: int) -> int:
        killers = 0
        for n in range(2_000):
            ref.tell((thread, n))
            if n % 80 == thread:
                ref.tell((ValueError, SystemExit)[n % 3 == 0])
                killers += 1
        return killers

    killers = sum(at_once(*(lambda t=t: tell(t) for t in range(4))))
    ref.ask("the last one", timeout=3 * GUARD_S)
    assert killers == 100
    assert set(Counter(handled).values()) == {1}
    assert len(handled) == 8_001
    for thread in range(4):
        assert all(a < b for a, b in pairwise(n for t, n in handled[:-1] if t == thread))
    (child,) = supervisor.children().values()
    assert (child.restarts, child.queued) == (killers, 0)


def test_what_is_told_while_it_rests_waits(supervisor: Supervisor, register: Register) -> None:
    resting, go = threading.Event(), threading.Event()

    def wait(_: Any) -> float:
        resting.set()
        assert go.wait(GUARD_S)
        return 0.0

    ref = supervisor.start(Worker, register, policy=RestartPolicy(wait=wait))
    ref.tell(ValueError())
    assert resting.wait(GUARD_S)
    assert ref.is_alive()
    answers = [ref.ask(n, block=False) for n in range(3)]
    ref.tell(3)
    with pytest.raises(pykka.Timeout):
        ref.ask(4, timeout=0.01)
    go.set()
    assert [answer.get(timeout=GUARD_S) for answer in answers] == [0, 1, 2]
    assert ref.ask(5, timeout=GUARD_S) == 5
    assert got(register) == [0, 1, 2, 3, 4, 5]  # an ask whose time is over is carried out later: as ever with pykka


@pytest.mark.expect_errors(r"^child killed crashed and is down: its restart is .never.")
def test_queued_asks_are_told_that_it_is_down_and_later_ones_at_once(
    supervisor: Supervisor, register: Register
) -> None:
    begun, go = threading.Event(), threading.Event()

    def hold(_: Worker) -> None:
        begun.set()
        assert go.wait(GUARD_S)
        raise SystemExit

    ref = supervisor.start(Worker, register, restart="never", name="killed")
    in_hand = ref.ask(hold, block=False)
    assert begun.wait(GUARD_S)
    queued = [ref.ask(n, block=False) for n in range(10)]
    ref.tell("lost")
    stop = ref.stop(block=False)
    go.set()
    with pytest.raises(pykka.ActorDeadError, match="crashed: SystemExit"):
        in_hand.get(timeout=GUARD_S)
    for answer in queued:
        with pytest.raises(pykka.ActorDeadError, match=r"is down: its restart is .never."):
            answer.get(timeout=GUARD_S)
    assert stop.get(timeout=GUARD_S) is True
    for late in (ref.ask, ref.tell):
        with pytest.raises(pykka.ActorDeadError):
            late("hello")
    assert ref.stop(timeout=GUARD_S) is False
    assert (ref.is_alive(), supervisor.children(), got(register)) == (False, {}, [])


ENDS = ("stop", "crash", "exit", "down", "stop_child", "give_up", "stop_all", "crashes")


def test_asks_that_race_every_kind_of_end_are_answered(
    supervisor: Supervisor, at_once: Callable[..., list[Any]]
) -> None:
    choose = random.Random(1)
    once = RestartPolicy(intensity=1, period=60, wait=lambda _: 0.0)
    answered: Counter[str] = Counter()

    def ask(ref: pykka.ActorRef[Any]) -> None:
        for n in range(4):
            try:
                assert ref.ask(n, timeout=GUARD_S) == n
                answered["ok"] += 1
            except pykka.ActorDeadError:
                answered["dead"] += 1

    def end(ref: pykka.ActorRef[Any], how: str) -> None:
        sum(range(choose.randrange(200)))
        try:
            if how == "stop":
                ref.stop(timeout=GUARD_S)
            elif how == "stop_child":
                assert supervisor.stop_child(ref, GUARD_S)
            elif how == "give_up":
                supervisor.stop_child(ref, 0)
            elif how == "stop_all":
                pykka.ActorRegistry.stop_all(timeout=GUARD_S)
            else:
                for _ in range({"down": 2, "crashes": 3}.get(how, 1)):
                    ref.tell(SystemExit if how == "exit" else ValueError)
        except pykka.ActorDeadError:
            pass

    tries = 40 * len(ENDS)
    for n in range(tries):
        how = ENDS[n % len(ENDS)]
        policy = AT_ONCE if how == "crashes" else once
        ref = supervisor.start(
            Counting, [], restart="never" if how in ("crash", "exit") else "on_failure", policy=policy
        )
        at_once(*[lambda ref=ref: ask(ref)] * 2, lambda ref=ref, how=how: end(ref, how))
        supervisor.stop_child(ref)
        assert not ref.is_alive()
    assert answered.total() == 8 * tries
    assert min(answered["ok"], answered["dead"]) > tries / 10
    assert supervisor.children() == {}


def test_an_ask_on_its_way_in_while_the_mailbox_is_closed_is_answered() -> None:
    """In the worst interleaving: the end comes when the ask has seen that the mailbox is open, and is not in it yet."""
    mailbox = ChildMailbox(lambda: None, own_stop_is_final=True)

    def close() -> None:
        mailbox.close("over")
        mailbox.reject()

    closer = threading.Thread(target=close)

    class Slow(deque[Any]):
        def append(self, envelope: Any) -> None:
            closer.start()
            closer.join(0.1)  # it must not get through; asserted by the answer alone
            super().append(envelope)

    mailbox._queue = Slow()
    answer: Any = pykka.ThreadingFuture()
    mailbox.put(Envelope("hello", reply_to=answer))
    with pytest.raises(pykka.ActorDeadError, match="over"):
        answer.get(timeout=GUARD_S)
    closer.join(GUARD_S)


def test_a_finalizer_may_tell_in_the_middle_of_anything(supervisor: Supervisor, register: Register) -> None:
    """The mailbox's lock can be taken by a thread that has it: a finalizer runs wherever it likes."""
    ref = supervisor.start(Worker, register)
    with ref.actor_inbox._lock:  # type: ignore[attr-defined]
        ref.tell(1)
    assert ref.ask(2, timeout=GUARD_S) == 2
    assert got(register) == [1, 2]
