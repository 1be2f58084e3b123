"""Supervision in real processes: the interpreter's exit, and a fork."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ACTOR = """
import os, sys, threading, warnings
import pykka
from haulier.supervision import *

class Actor(pykka.ThreadingActor):
    use_daemon_thread = True

    def on_receive(self, message):
        if isinstance(message, BaseException):
            raise message
        return message() if callable(message) else message
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ACTOR + program], capture_output=True, text=True, timeout=30
    )


def test_a_program_that_never_stops_its_supervisor_still_exits() -> None:
    done = run("""
supervisor = Supervisor()
supervisor.subscribe(lambda event: None)
idle, rests, busy = (supervisor.start(Actor, policy=RestartPolicy(wait=lambda _: 3600)) for _ in range(3))
idle.ask(1)
rests.tell(SystemExit())
busy.tell(threading.Event().wait)
while supervisor.children()["Actor-2"].state != "resting":
    pass
print("bye")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "bye\n", "")


def test_a_dropped_supervisor_goes_on() -> None:
    done = run("""
import gc
ref = Supervisor().start(Actor, policy=RestartPolicy(wait=lambda _: 0))
gc.collect()
for _ in range(3):
    ref.tell(ValueError())
print(ref.ask(1, timeout=10))
ref.stop()
gc.collect()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
print(threading.active_count())
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n1\n", "")


def test_a_plain_actor_that_stops_everybody_stops_the_children() -> None:
    """pykka's answer to SystemExit in an actor that nobody supervises."""
    done = run("""
with Supervisor() as supervisor:
    ref = supervisor.start(Actor, restart="always")
    Actor.start().tell(SystemExit())
    ref.actor_stopped.wait(10)
    print(ref.is_alive(), supervisor.stop())
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_clear_errors() -> None:
    done = run("""
warnings.simplefilter("ignore")
supervisor = Supervisor()
ref = supervisor.start(Actor, name="it")
proxy = ref.proxy()
pid = os.fork()
if pid == 0:
    errors = 0
    for call in (supervisor.children, supervisor.stop, lambda: supervisor.start(Actor), lambda: supervisor.revive("it"),
                 lambda: supervisor.stop_child("it"), lambda: supervisor.subscribe(print)):
        try: call()
        except ForkedSupervisor as error: errors += "before the fork" in str(error)
    for call in (lambda: ref.tell(1), lambda: ref.ask(1)):
        try: call()
        except pykka.ActorDeadError as error: errors += "forked from" in str(error)
    errors += pykka.ActorRegistry.stop_all() == [False]
    with Supervisor() as mine:
        errors += mine.start(Actor).ask(1, timeout=10)
    os._exit(errors)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), ref.ask(2, timeout=10), supervisor.stop())
""")
    assert (done.stdout, done.stderr) == ("10 2 True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_an_actor_that_forks_ends_quietly_in_the_child() -> None:
    done = run("""
warnings.simplefilter("ignore")
supervisor = Supervisor()
ref = supervisor.start(Actor)
read, write = os.pipe()
def fork():
    pid = os.fork()
    if pid == 0:
        os.write(write, b"child")
    return pid
pid = ref.ask(fork, timeout=10)
print(os.read(read, 5), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), ref.ask(1, timeout=10))
""")
    assert (done.stdout, done.stderr) == ("b'child' 0 1\n", "")
