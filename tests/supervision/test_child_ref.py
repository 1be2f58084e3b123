"""A supervised actor to the eye of pykka: its ref, its proxies, its class, its place in the registry."""

from __future__ import annotations

import inspect
import pickle
import threading
from functools import partial
from typing import Any, ClassVar

import pykka
import pytest
from tests.supervision.workers import AT_ONCE, GUARD_S, Register, Worker

import haulier.supervision
from haulier.supervision import Crashed, RestartPolicy, Supervisor

pytestmark = pytest.mark.expect_errors(r"^child \S+ crashed and restarts")


class Player:
    def __init__(self) -> None:
        self.volume = 3
        self.lock = threading.Lock()

    def play(self) -> str:
        return "playing"


class Many(pykka.ThreadingActor):
    """What can be asked through a proxy."""

    use_daemon_thread = True
    kinds: ClassVar[list[type]] = []
    radio = pykka.traversable(Player())

    def __init_subclass__(cls, **_: Any) -> None:
        Many.kinds.append(cls)

    def __init__(self, register: Register, name: str = "many") -> None:
        pykka.ThreadingActor.__init__(self)
        self._me = self.actor_ref.proxy()
        self.register = register
        self.name = name
        self.player = pykka.traversable(Player())
        self.shout = lambda: "HELLO"
        register.note((self.actor_ref, self.actor_urn, self.actor_inbox, self))

    def later(self) -> Any:
        return self._me.now()

    def now(self) -> str:
        self.fresh = "fresh"
        return "now"

    def crash(self) -> None:
        raise ValueError("through a proxy")


def test_the_ref_the_urn_and_the_mailbox_last(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Many, register, policy=AT_ONCE)
    ref.proxy().crash.defer()
    assert ref.proxy().now().get(timeout=GUARD_S) == "now"
    (ref1, urn1, inbox1, life1), (ref2, urn2, inbox2, life2) = register.of(tuple)
    assert ref is ref1 is ref2
    assert ref.actor_urn == urn1 == urn2
    assert ref.actor_inbox is inbox1 is inbox2
    assert life1 is not life2
    assert (ref.actor_class, str(ref)) == (Many, f"Many ({urn1})")
    assert pykka.ActorRegistry.get_by_urn(urn1) is ref
    assert pykka.ActorRegistry.get_by_class(Many) == pykka.ActorRegistry.get_by_class_name("Many") == [ref]


def test_the_class_looks_like_the_actors_own(supervisor: Supervisor, register: Register) -> None:
    supervisor.start(Many, register)
    ((ref, urn, _, life),) = register.of(tuple)
    assert isinstance(life, Many)
    assert (type(life).__name__, type(life).__qualname__, type(life).__module__) == ("Many", "Many", __name__)
    assert (str(life), type(life).__doc__) == (f"Many ({urn})", Many.__doc__)
    assert Many.kinds == []
    plain = type(life).start(register)  # an actor that starts one of its own kind gets a plain one
    assert plain.actor_urn != urn
    assert type(register.of(tuple)[1][3]) is Many
    plain.stop()


def test_a_proxy_lasts(supervisor: Supervisor, register: Register, heard: Register) -> None:
    ref = supervisor.start(Many, register, policy=AT_ONCE, name="it")
    proxy = ref.proxy()
    for _ in range(2):
        assert proxy.later().get(timeout=GUARD_S).get(timeout=GUARD_S) == "now"
        assert proxy.fresh.get(timeout=GUARD_S) == "fresh"
        assert proxy.player.play().get(timeout=GUARD_S) == "playing"
        assert proxy.player.volume.get(timeout=GUARD_S) == 3
        assert proxy.radio.play().get(timeout=GUARD_S) == "playing"
        assert proxy.shout().get(timeout=GUARD_S) == "HELLO"
        proxy.player.volume = 7
        assert proxy.player.volume.get(timeout=GUARD_S) == 7
        proxy.crash.defer()
    with pytest.raises(AttributeError):
        proxy.nothing  # noqa: B018
    assert {"later", "name", "player"} <= set(dir(proxy))
    assert proxy == ref.proxy()
    heard.wait_for(lambda event: isinstance(event, Crashed), 2)


def test_a_proxy_is_to_be_had_while_it_rests(supervisor: Supervisor, register: Register) -> None:
    resting, go = threading.Event(), threading.Event()

    def wait(_: Any) -> float:
        resting.set()
        assert go.wait(GUARD_S)
        return 0.0

    ref = supervisor.start(Many, register, policy=RestartPolicy(wait=wait), name="it")
    ref.proxy().crash.defer()
    assert resting.wait(GUARD_S)
    proxy = ref.proxy()
    answers = [proxy.now(), proxy.name, proxy.player.play(), proxy.player.volume, proxy.shout(), proxy.radio.volume]
    go.set()
    assert [answer.get(timeout=GUARD_S) for answer in answers] == ["now", "many", "playing", 3, "HELLO", 3]


def test_arguments_that_have_the_supervisors_names(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(partial(Many, name="theirs"), register, name="ours")
    assert ref.proxy().name.get(timeout=GUARD_S) == "theirs"
    assert list(supervisor.children()) == ["ours"]


def test_names(supervisor: Supervisor, register: Register) -> None:
    supervisor.start(Worker, register, name="Worker-2")
    refs = [supervisor.start(Worker, register) for _ in range(2)]
    assert list(supervisor.children()) == ["Worker-2", "Worker-1", "Worker-3"]
    assert refs[0].ask(lambda _: threading.current_thread().name, timeout=GUARD_S) == "Worker-1"


def test_the_actors_thread_is_a_daemon_if_its_class_says_so(supervisor: Supervisor, register: Register) -> None:
    class Keeping(Worker):
        use_daemon_thread = False

    for actor, daemon in ((Worker, True), (Keeping, False)):
        ref = supervisor.start(actor, register, policy=AT_ONCE)
        for _ in range(2):
            assert ref.ask(lambda _: threading.current_thread().daemon, timeout=GUARD_S) is daemon
            ref.tell(ValueError())


def test_an_init_that_forgets_its_super_is_said(supervisor: Supervisor) -> None:
    class Forgetful(pykka.ThreadingActor):
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match=r"Forgetful.__init__\(\) must call super"):
        supervisor.start(Forgetful)


def test_an_overridden_stop_is_the_actors_own(supervisor: Supervisor, register: Register) -> None:
    class Careful(Worker):
        def stop(self) -> None:
            self.register.note("about to stop")
            super().stop()

    ref = supervisor.start(Careful, register)
    ref.tell(lambda worker: worker.stop())
    register.wait_for("stop")
    assert register.notes[-2:] == ["about to stop", "stop"]


def test_the_inbox_can_be_looked_at(supervisor: Supervisor, register: Register) -> None:
    begun, go = threading.Event(), threading.Event()

    def hold(worker: Worker) -> Any:
        begun.set()
        assert go.wait(GUARD_S)
        inbox: Any = worker.actor_inbox
        return inbox.qsize(), inbox.empty()

    ref = supervisor.start(Worker, register, name="it")
    sizes = ref.ask(hold, block=False)
    assert begun.wait(GUARD_S)
    ref.tell(1)
    ref.tell(2)
    assert supervisor.children()["it"].queued == 2
    go.set()
    assert sizes.get(timeout=GUARD_S) == (2, False)
    assert ref.ask(3, timeout=GUARD_S) == 3


def test_the_public_names_are_there_and_no_others() -> None:
    public = {name for name, value in vars(haulier.supervision).items() if not name.startswith("_")}
    modules = {name for name in public if inspect.ismodule(getattr(haulier.supervision, name))}
    assert haulier.supervision.__all__ == sorted(haulier.supervision.__all__)
    assert public - modules - {"annotations"} == set(haulier.supervision.__all__)


def test_a_response_may_be_anything(supervisor: Supervisor, register: Register) -> None:
    ref = supervisor.start(Worker, register)
    for response in (None, ValueError, pickle, ()):
        assert ref.ask(lambda _, response=response: response, timeout=GUARD_S) is response
