"""``Keeper``: learns of every death, and decides which child restarts, and when.

The keeper's thread starts the actors' threads. It runs no code of actors, and no foreign code but logging handlers, so
that nothing that blocks delays another child.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Final

from haulier._engine.core.restarts import GoDown, RestartAt
from haulier._threads.lock import SafeLock
from haulier._threads.log import Log
from haulier.errors import ForkedSupervisor, SupervisorStopped
from haulier.supervision import messages as m
from haulier.supervision.child import Child
from haulier.supervision.desk import WATCH_S, Desk
from haulier.supervision.events import Crashed, Down, Restarted, Stopped, SupervisionEvent
from haulier.supervision.life import Life

__all__ = ["Keeper"]

logger = Log("haulier.supervision")

NO_THREAD_S: Final = 0.25  # until the next try if the system could not start a thread
JOIN_S: Final = 1.0  # the longest wait for a thread that has reported its end and has only a few steps left


class Keeper:
    """The children of one supervisor. ``lock`` guards the table and the states, and is never held for long."""

    def __init__(self, publish: Callable[[SupervisionEvent], None]) -> None:
        self.lock = SafeLock()
        self.children: dict[str, Child] = {}  # those that run, rest or are down, the oldest first
        self.stopping = False
        self.stopped = threading.Event()
        self.in_time = True  # False once a child had to be given up on
        self._publish = publish
        self._desk: Desk[m.Message] = Desk(self.lock, self._handle, self._look, self._is_watched, self._is_needed)
        _keepers.add(self)

    # ---- on any thread -----------------------------------------------------------------------------------------------

    def check_here(self) -> None:
        """Raise ``ForkedSupervisor`` in a forked child."""
        if self._desk.forked:
            raise ForkedSupervisor("this supervisor was made before the fork: make a new one in the child")

    def check_open(self) -> None:
        """Raise ``SupervisorStopped`` after ``stop``, and ``ForkedSupervisor`` in a forked child."""
        self.check_here()
        if self.stopping:
            raise SupervisorStopped("the supervisor was stopped and starts no children: make a new one")

    def check_name(self, name: str) -> None:
        """Raise ``ValueError`` if a child has that name already."""
        if name in self.children:
            raise ValueError(f"there is a child {name!r} already: choose another name")

    def add(self, child: Child, actor: Any) -> None:
        """Start a new child with ``actor`` as its first life. Raises what ``check_open`` and ``check_name`` raise."""
        child.register()
        with self.lock:
            self.check_open()
            self.check_name(child.name)
            self.children[child.name] = child
            life = child.life = Life(child, actor, self._ended)
            try:
                self._desk.ensure()
                life.thread.start()
            except BaseException:
                del self.children[child.name]
                if not life.abandon():
                    life.give_up()
                raise

    def revive(self, child: Child) -> None:
        """Restart a child that is down. Does nothing if the child is not down."""
        with self.lock:
            self.check_open()
            if child.state != "down" or self.children.get(child.name) is not child:
                return
            child.restarts.forget()
            child.state, child.reason, child.rests_until = "resting", None, monotonic()
            child.open()
        child.register()
        self._desk.tell(m.Rested(child, child.rests_until))

    def dismiss(self, child: Child) -> bool:
        """Forget a child if it is down. Returns whether it was."""
        with self.lock:
            if child.state == "down":
                self._forget(child)
            return child.state == "down"

    def stop_came(self, child: Child) -> None:
        """Handle that a stop was put into the mailbox of ``child``."""
        self._desk.tell(m.StopCame(child))

    def stop_all(self, deadline: float | None) -> None:
        """Stop all children, the youngest first. At ``deadline`` (monotonic seconds) give up on the rest."""
        with self.lock:
            self.stopping = True
            if not self.children:
                self.stopped.set()
        self._desk.tell(m.StopAll())
        if deadline is not None:
            self._desk.tell(m.Deadline(None, deadline))

    def give_up_on(self, child: Child, at: float) -> None:
        """Give up on a child at ``at`` (monotonic seconds) if it has not stopped by then."""
        self._desk.tell(m.Deadline(child, at))

    def is_inside(self) -> bool:
        """Whether a stop has to wait for the calling thread, which then must not wait for the stop."""
        mine = threading.current_thread()
        children = list(self.children.values())
        lives = [child.life for child in children if child.life is not None]
        return self.is_in_a_step(children) or mine is self._desk.thread or any(life.thread is mine for life in lives)

    def is_in_a_step(self, children: list[Child]) -> bool:
        """Whether the calling thread holds one of our locks already: a signal handler may interrupt any step."""
        is_owned: bool = self.lock._is_owned()  # type: ignore[attr-defined]
        return is_owned or any(child.mailbox.is_held() for child in children)

    def ensure(self) -> None:
        """Start the keeper's thread if it is needed and does not run."""
        self._desk.ensure()

    def join(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the keeper's thread, which ends when no child is left."""
        thread = self._desk.thread
        if thread is not None:
            thread.join(timeout)

    def _ended(self, life: Life) -> None:
        self._desk.tell(m.Ended(life))

    def _is_needed(self) -> bool:
        return bool(self.children)

    def _is_watched(self) -> bool:
        return any(child.state != "down" for child in self.children.values())

    # ---- on the keeper's thread --------------------------------------------------------------------------------------

    def _handle(self, message: m.Message) -> None:
        try:
            match message:
                case m.Ended(life):
                    self._bury(life)
                case m.Rested(child, at):
                    if child.state == "resting" and child.rests_until == at:
                        self._hire(child)
                case m.StopCame(child):
                    self._stop_came(child)
                case m.Deadline(_, at) if at > monotonic():
                    self._desk.later(at, message)
                case m.Deadline(child, _):
                    self._give_up_on(child) if child else self._give_up_on_all()
                case m.StopAll():
                    pass
        finally:
            if self.stopping:
                self._stop_next()

    def _look(self) -> m.Message | None:
        """Find a child whose thread died without a report, or whose restart is more than ``WATCH_S`` late."""
        late = monotonic() - WATCH_S
        with self.lock:
            for child in self.children.values():
                if child.life is not None and not child.life.thread.is_alive():
                    return m.Ended(child.life)
                if child.state == "resting" and child.rests_until < late:
                    return m.Rested(child, child.rests_until)
        return None

    def _bury(self, life: Life) -> None:
        """Handle the end of a life: answer the ask that it was handling, and decide what follows."""
        child = life.child
        if child.life is not life:
            return  # it was given up on, or this end was handled already
        if life.abandon():  # the start of its thread was interrupted: try again
            self._rest(child, monotonic())
            return
        life.thread.join(JOIN_S)
        life.conclude()
        failure, verdict = life.failure, life.verdict
        child.mailbox.drop_in_hand(f"{child.ref} crashed: {failure!r}", failure)
        if verdict is None:
            self._end(child, in_time=True)
            return
        self._log(child, failure, verdict)
        life.let_go()
        child.failure = failure or child.failure
        if isinstance(verdict, GoDown):
            self._take_down(child, failure, verdict.reason)
        else:
            if failure is not None:
                self._publish(Crashed(child.name, failure, max(0.0, verdict.at - monotonic()), time()))
            self._rest(child, verdict.at)
            if child.mailbox.stop_asked:
                self._stop_came(child)

    def _log(self, child: Child, failure: BaseException | None, verdict: RestartAt | GoDown) -> None:
        what = "stopped itself" if failure is None else "crashed"
        if isinstance(verdict, GoDown):
            logger.error("child %s %s and is down: %s", child.name, what, verdict.reason, exc_info=failure)
        else:
            level = logging.INFO if failure is None else logging.ERROR
            rests_s = max(0.0, verdict.at - monotonic())
            logger.log(level, "child %s %s and restarts in %.3f s", child.name, what, rests_s, exc_info=failure)

    def _rest(self, child: Child, until: float) -> None:
        with self.lock:
            child.life, child.state, child.rests_until = None, "resting", until
        self._desk.later(until, m.Rested(child, until))

    def _stop_came(self, child: Child) -> None:
        """Stop a child that rests. It handles the messages before the stop first, without resting any longer."""
        if child.state != "resting":
            return
        if child.mailbox.stop_is_next():
            self._end(child, in_time=True)
        else:
            self._hire(child)

    def _hire(self, child: Child) -> None:
        """Start the next life."""
        failed: BaseException | None = None
        with self.lock:
            life = child.life = Life(child, None, self._ended)
            child.state = "running"
            try:
                life.thread.start()
            except BaseException as error:
                if life.abandon():
                    # 'can't start new thread': the machine is at its limit. What is queued waits for the next try.
                    self._rest(child, monotonic() + NO_THREAD_S)
                    failed = error
        if failed is not None:  # logged without the lock, because a thread inside a log handler may wait for it
            logger.error("cannot start a thread for child %s, trying again: %r", child.name, failed)
            return
        logger.info("child %s restarted", child.name)
        self._publish(Restarted(child.name, child.restarts.total, time()))

    def _take_down(self, child: Child, failure: BaseException | None, reason: str) -> None:
        with self.lock:  # in one step, because revive may come at any moment
            child.close(f"is down: {reason}")
            child.life, child.state, child.reason = None, "down", reason
            if child.restart == "never" or child.mailbox.stop_asked:
                self._forget(child)
            lost = child.mailbox.reject()
            child.ended.set()
        child.unregister()
        self._log_lost(child, lost)
        self._publish(Down(child.name, failure, reason, time()))

    def _end(self, child: Child, *, in_time: bool) -> None:
        with self.lock:
            child.close("is stopped")
            child.life, child.state, child.in_time = None, "stopped", in_time
            self._forget(child)
            lost = child.mailbox.reject()
            child.ended.set()
        child.unregister()
        self._log_lost(child, lost)
        self._publish(Stopped(child.name, in_time, time()))

    def _log_lost(self, child: Child, lost: int) -> None:
        if lost:
            logger.warning("%d messages to child %s are lost: it ended before it handled them", lost, child.name)

    def _forget(self, child: Child) -> None:
        with self.lock:
            if self.children.get(child.name) is child:
                del self.children[child.name]

    def _give_up_on_all(self) -> None:
        for child in reversed(list(self.children.values())):
            self.in_time &= child.state == "down"
            self._give_up_on(child)

    def _give_up_on(self, child: Child) -> None:
        if child.ended.is_set():
            return
        logger.warning("gave up on child %s, which did not stop in time", child.name)
        child.close("is stopped")
        if child.life is not None:
            child.life.give_up()
            child.mailbox.drop_in_hand(f"{child.ref} is stopped: it was given up on", None)
        self._end(child, in_time=False)

    def _stop_next(self) -> None:
        """Stop the youngest child, unless it is stopping already. If no child is left, the stop is complete."""
        while self.children:
            last = next(reversed(self.children.values()))
            if self.dismiss(last):
                continue
            if not last.told_to_stop:
                last.told_to_stop = True
                last.tell_to_stop()
            return
        self.stopped.set()

    # ---- fork --------------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Mark this copy in a forked child, which has none of the threads."""
        self.lock = self._desk.lock = SafeLock()
        self._desk.forked = True
        for child in list(self.children.values()):
            child.mailbox.forked(f"{child.ref} lives in the process that this one was forked from")


def _after_fork() -> None:
    for keeper in list(_keepers):
        keeper.after_fork()


_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
