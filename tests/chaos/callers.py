"""Callers on threads of their own: each carries out its part of the plan, call by call."""

from __future__ import annotations

import gc
import traceback
from typing import Any

from tests.chaos.books import Books
from tests.chaos.calls import STATES, Calls
from tests.chaos.plan import Action
from tests.chaos.world import doze

from haulier import Changed, EngineClosed, Event, Missed, Subscription, UnknownDownload, UnknownSource
from haulier.records import TERMINAL_PHASES

__all__ = ["Caller", "Hearer"]


class Hearer:
    """A subscriber with an ear for what cannot be; and, as some are, slow, or raising whatever comes to mind."""

    def __init__(self, books: Books, manner: float) -> None:
        self._books, self._manner = books, manner
        self._over: set[str] = set()
        self._heard = 0

    def __call__(self, event: Event) -> None:
        self._heard += 1
        if isinstance(event, Changed):
            self._hear(event)
        elif isinstance(event, Missed):
            self._books.count("events missed", event.events)
        if self._manner < 0.3:
            self._books.count("callback was slow")
            doze(0.003)
        elif self._heard % 10 == 0 and self._manner > 0.6:
            self._books.count("callback raised")
            raise SystemExit(6) if self._manner > 0.8 else RuntimeError("a callback of somebody's own")

    def _hear(self, event: Changed) -> None:
        if event.download_id in self._over:
            self._books.blame("order", f"{event.download_id} was over, and {event.phase} is heard")
        if event.phase in TERMINAL_PHASES:
            self._over.add(event.download_id)
        if event.record.get("phase") != event.phase:
            self._books.blame("truth", f"{event.phase} of {event.download_id} is heard with the record {event.record}")
        self._books.saw(event.record)


class Caller:
    """One caller."""

    def __init__(self, calls: Calls, name: str, actions: tuple[Action, ...], closes_at: int | None = None) -> None:
        self.name = name
        self._calls, self._books, self._world = calls, calls.books, calls.world
        self._actions, self._closes_at = actions, closes_at
        self._mine = 0
        self._subscriptions: list[Subscription] = []

    def run(self) -> None:
        """Carry out every action."""
        with self._books.calling():
            self._carry_out()

    def _carry_out(self) -> None:
        for number, action in enumerate(self._actions):
            if number == self._closes_at:
                action = action._replace(kind="close")
            try:
                getattr(self, f"_{action.kind}")(action)
                self._books.count(f"call: {action.kind}")
            except Exception:
                self._books.blame("raised", f"{self.name}: {action.kind} raised\n{traceback.format_exc()}")
            if action.pause_s:
                doze(action.pause_s)
        for subscription in self._subscriptions:
            subscription.close()

    def _id(self, action: Action) -> str:
        return self._books.pick(action.pick) or "nobody"

    # ---- downloads ---------------------------------------------------------------------------------------------------

    def _dispatch(self, action: Action) -> None:
        for errand in action.errands:
            self._calls.dispatch(action.source, errand)

    _burst = _dispatch

    def _cancel(self, action: Action) -> None:
        self._calls.cancel(self._id(action), action.source if action.seconds else None)

    def _cancel_old(self, action: Action) -> None:
        download_id = self._books.pick(action.pick, late=False)
        if download_id is not None:
            self._calls.cancel(download_id)

    def _cancel_unknown(self, action: Action) -> None:
        with self._calls.allowing("cancel_download"):
            if self._calls.engine.cancel_download(f"unknown-{action.pick}", remove=action.pick < 0.5) is not False:
                self._books.blame("truth", "an unknown download was cancelled")

    def _cancel_and_remove(self, action: Action) -> None:
        self._calls.cancel(self._id(action), remove=True)

    def _remove(self, action: Action) -> None:
        self._calls.remove(self._id(action))

    def _clear(self, action: Action) -> None:
        with self._calls.allowing("clear_all_completed_downloads"):
            self._calls.engine.clear_all_completed_downloads()

    # ---- sources -----------------------------------------------------------------------------------------------------

    def _pause(self, action: Action) -> None:
        with self._calls.allowing("pause", EngineClosed, UnknownSource):
            self._calls.engine.pause(action.source)

    def _resume(self, action: Action) -> None:
        with self._calls.allowing("resume", EngineClosed, UnknownSource):
            self._calls.engine.resume(action.source)

    def _revive(self, action: Action) -> None:
        with self._calls.allowing("revive", EngineClosed, UnknownSource):
            self._calls.engine.revive(action.source)

    def _set_concurrency(self, action: Action) -> None:
        self._calls.set_concurrency(action.source, 1 + int(action.pick * 4))

    def _set_delay(self, action: Action) -> None:
        with self._calls.allowing("set_delay", EngineClosed):
            self._calls.engine.worker.set_delay(action.source, action.seconds / 4)

    def _register(self, action: Action) -> None:
        assert action.setup is not None
        self._books.allow(action.source, action.setup.concurrency)
        with self._calls.allowing("register_source", EngineClosed):
            self._calls.engine.register_source(action.source, action.setup.policy())

    # ---- records -----------------------------------------------------------------------------------------------------

    def _patch(self, action: Action) -> None:
        self._mine += 1
        self._calls.patch(self._id(action), f"note of {self.name}", self._mine)

    def _patch_state(self, action: Action) -> None:
        self._mine += 1
        state = STATES[int(action.pick * len(STATES))]
        self._calls.patch(self._id(action), f"note of {self.name}", self._mine, state=state, phase="queued")

    def _patch_cancel(self, action: Action) -> None:
        self._calls.patch_cancel(self._id(action))

    def _patch_unless(self, action: Action) -> None:
        self._calls.patch_unless(self._id(action), {"unless": action.pick}, STATES[:2])

    def _cancel_unless(self, action: Action) -> None:
        self._calls.patch_unless(self._id(action), {"state": "Cancelled"}, STATES[:1] if action.pick < 0.3 else ())

    def _add(self, action: Action) -> None:
        self._mine += 1
        download_id, record = f"{self.name}-{self._mine}", {"state": "InProgress", "mine": self._mine}
        with self._calls.allowing("add_record"):
            engine = self._calls.engine
            engine.add_record(action.source, download_id, record)
            if engine.get_record(action.source, download_id) != record:
                self._books.blame("truth", f"{record} was added, and is not there")
            if action.pick < 0.5:
                engine.update_record(action.source, download_id, {"state": "Completed, Succeeded"})
            elif not engine.cancel_download(download_id):
                self._books.blame("truth", f"{download_id} was added, and could not be cancelled")

    def _replace(self, action: Action) -> None:
        download_id = self._id(action)
        fact = self._books.facts.get(download_id)
        if fact is not None:
            self._books.mark(download_id, replaced=True)
            with self._calls.allowing("add_record"):
                self._calls.engine.add_record(fact.source, download_id, {"id": download_id, "state": "Replaced"})

    def _read(self, action: Action) -> None:
        with self._calls.allowing("get_download_status"):
            self._calls.look(self._id(action))

    def _read_all(self, action: Action) -> None:
        self._calls.read_all()

    def _iterate(self, action: Action) -> None:
        with self._calls.allowing("iter_records_for_source"):
            for record in self._calls.engine.iter_records_for_source(action.source):
                self._books.saw(record)

    # ---- watching ----------------------------------------------------------------------------------------------------

    def _stats(self, action: Action) -> None:
        with self._calls.allowing("stats"):
            for name, status in self._calls.engine.stats().items():
                if min(status["queued"], status["in_flight"], status["zombies"], status["slots"]) < 0:
                    self._books.blame("truth", f"{name} counts {status}")

    def _explain(self, action: Action) -> None:
        with self._calls.allowing("explain", UnknownDownload):
            self._calls.engine.explain(self._id(action))

    def _wait(self, action: Action) -> None:
        self._calls.wait([self._id(action)], action.seconds)

    def _as_completed(self, action: Action) -> None:
        picks = (self._books.pick(action.pick * part / 5) for part in range(1, 6))
        self._calls.wait([each for each in picks if each is not None] * 2, action.seconds)

    def _subscribe(self, action: Action) -> None:
        with self._calls.allowing("subscribe", EngineClosed):
            hearer: Any = Hearer(self._books, action.pick)
            self._subscriptions.append(self._calls.engine.subscribe(hearer, capacity=1 + int(action.pick * 60)))

    def _unsubscribe(self, action: Action) -> None:
        if self._subscriptions:
            self._subscriptions.pop(0).close()

    # ---- the rest ----------------------------------------------------------------------------------------------------

    def _collect(self, action: Action) -> None:
        gc.collect()

    def _step_clock(self, action: Action) -> None:
        self._world.clock.offset_s = (action.pick - 0.5) * 12 * 3600

    def _close(self, action: Action) -> None:
        self._books.closing = True
        with self._calls.allowing("close"):
            self._calls.engine.close(drain=action.pick < 0.3, timeout=action.seconds)
