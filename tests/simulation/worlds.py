"""Small worlds: a source, a few downloads, and a script of what their impls do; and whatever may go wrong meanwhile.

A ``Play`` is one way through a world, move by move: whose turn it is, which impl ends and when time passes are settled
beforehand. So a fault can be put between any two moves, and all places can be tried.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Literal, TypeAlias

import tenacity
from tests.simulation.simulator import Dispatch, Simulator
from tests.simulation.slots import Slot
from tests.simulation.threads import Thread

from haulier.errors import EngineClosed, QueueFull, SourceDown, Throttled
from haulier.policies import RestartPolicy, RetryPolicy, SourcePolicy

__all__ = ["WORLDS", "Crash", "Play", "World"]

Ending: TypeAlias = Literal["lands", "fails", "is throttled", "crashes", "hangs"]

MOST: Final = 1_000
"""More moves than any play has that comes to an end."""


class Crash(BaseException):
    """What an impl, or a slot, dies of."""


def policy(**rules: Any) -> SourcePolicy:
    """A policy that leaves nothing to chance."""
    return SourcePolicy(**{"restart": RestartPolicy(3, 8.0, tenacity.wait_fixed(0.5)), **rules})


@dataclass(frozen=True)
class World:
    """``script``: for each download, how its impl comes to an end the first time, the second time, and so on."""

    name: str
    script: tuple[tuple[Ending, ...], ...]
    policy: SourcePolicy = field(default_factory=policy)
    patience_s: float = 4.0
    is_slow: bool = False
    """Whether time passes, as long as somebody waits for it, before an impl comes to an end."""


LANDS: Final[tuple[Ending, ...]] = ("lands",)
WORLDS: Final = [
    World("one alone", (LANDS,)),
    World("two in turn", (LANDS,) * 2),
    World("three, two at once", (LANDS,) * 3, policy(concurrency=2)),
    World("slots leave while others run", (LANDS,) * 3, policy(concurrency=2), 0.5, is_slow=True),
    World("a delay", (LANDS,) * 2, policy(delay=1.0)),
    World("a delay longer than patience", (LANDS,) * 2, policy(delay=8.0), 0.5),
    World("a delay between starts", (LANDS,) * 3, policy(concurrency=2, delay=1.0, delay_from="start")),
    World(
        "a retry",
        (("fails", "lands"), LANDS),
        policy(retry=RetryPolicy(tenacity.stop_after_attempt(2), tenacity.wait_fixed(2.0))),
    ),
    World(
        "a retry, and a longer delay",
        (("fails", "lands"),),
        policy(delay=4.0, retry=RetryPolicy(tenacity.stop_after_attempt(2), tenacity.wait_fixed(2.0))),
    ),
    World("throttled", (("is throttled", "lands"), LANDS, LANDS), policy(concurrency=2)),
    World("a hung impl", (("hangs",), LANDS), policy(timeout=2.0, max_zombies=1)),
    World("a full queue", (LANDS,) * 3, policy(max_queued=1)),
    World("a crash", (("crashes",), LANDS, LANDS), policy()),
    World("a crash beside others", (("crashes",), LANDS, LANDS), policy(concurrency=2)),
    World(
        "a crash that takes the queue along",
        (("crashes",), LANDS, LANDS),
        policy(on_crash="error_queued"),
    ),
    World("a crash too many", (("crashes",), LANDS), policy(restart=RestartPolicy(0, 8.0))),
]


class Play:
    """One way through a world. ``newest_first``: the turn is always that of the thread that came last."""

    def __init__(self, world: World, newest_first: bool) -> None:
        self.world = world
        self.simulator = Simulator(world.policy, patience_s=world.patience_s)
        self.calls: list[Dispatch] = [self.simulator.dispatch() for _ in world.script]
        self.moves = 0
        """So many have been made."""
        self.cancelled: set[str] = set()
        """A cancel returned True."""
        self.lost: set[str] = set()
        """A slot died with it in hand."""
        self.closed = False
        self.crashes = 0
        self.landed: dict[str, str] = {}
        """What the impls returned."""
        self._newest_first = newest_first
        self._round: deque[Thread] = deque()
        self._times: dict[str, int] = {}

    def move(self) -> bool:
        """Make the next move; False where nothing is left to do."""
        simulator = self.simulator
        thread = self._whose_turn()
        if thread is not None:
            simulator.advance(thread)
            self.moves += 1
            return True
        simulator.look_at_rest()
        if self.world.is_slow and simulator.next_due() < inf:
            simulator.clock.advance_to(simulator.next_due())
        elif (ending := next(filter(self._comes_back, simulator.slots), None)) is not None:
            self._end(ending)
        elif simulator.next_due() < inf:
            simulator.clock.advance_to(simulator.next_due())
        elif simulator.witness.paused:
            simulator.set_paused(False)
        else:
            return False
        self.moves += 1
        return True

    def go_to(self, moment: float) -> None:
        """Make moves until so many have been made."""
        while self.moves < moment and self.move():
            assert self.moves < MOST, "it never comes to an end"

    def _whose_turn(self) -> Thread | None:
        runnable = self.simulator.runnable()
        if not runnable:
            return None
        if self._newest_first:
            return runnable[-1]
        while self._round:
            thread = self._round.popleft()
            if thread in runnable:
                return thread
        self._round.extend(runnable)
        return self._round.popleft()

    def _script(self, download_id: str) -> tuple[Ending, ...]:
        number = [call.download_id for call in self.calls].index(download_id)
        return self.world.script[number] if number < len(self.world.script) else LANDS

    def _comes_back(self, download_id: str) -> bool:
        transfer = self.simulator.slots[download_id].in_hand
        assert transfer is not None
        return self._ending(download_id) != "hangs" or transfer.given_up

    def _ending(self, download_id: str) -> Ending:
        return self._script(download_id)[self._times.get(download_id, 0)]

    def _end(self, download_id: str) -> None:
        ending = self._ending(download_id)
        self._times[download_id] = self._times.get(download_id, 0) + 1
        match ending:
            case "lands" | "hangs":
                path = self.landed[download_id] = f"{download_id}-{self._times[download_id]}.bin"
                self.simulator.end(download_id, path=path)
            case "fails":
                self.simulator.end(download_id, error=OSError("reset"))
            case "is throttled":
                self.simulator.end(download_id, error=Throttled(2.0))
            case "crashes":
                self.lose(self.simulator.slots[download_id])
                self.simulator.end(download_id, error=Crash("the impl"))

    def lose(self, slot: Slot) -> None:
        """A slot dies, with what it has in hand."""
        self.crashes += 1
        if (
            slot.in_hand is not None
            and self.simulator.source.attempts.in_flight.get(slot.in_hand.download_id) is slot.in_hand
        ):
            self.lost.add(slot.in_hand.download_id)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Go on to the end, and see that each download has come to what it had to."""
        self.go_to(inf)
        self.simulator.finish()
        for call in self.calls:
            self._see(call)

    def _see(self, call: Dispatch) -> None:
        download_id = call.download_id
        record = self.simulator.record(download_id)
        starts = [start.attempt for start in self.simulator.witness.starts if start.download_id == download_id]
        if call.error is not None:
            assert record is None
            assert starts == []
            assert isinstance(call.error, self._refusals()), call.error
            return
        assert record is not None, f"{download_id} is gone"
        script = self._script(download_id)
        assert len(starts) <= len(script), f"{download_id} was called {len(starts)} times"
        phase, error = record["phase"], record.get("error") or ""
        if download_id in self.cancelled or phase == "cancelled":
            assert (phase, download_id in self.cancelled) == ("cancelled", True), record
        elif phase == "succeeded":
            assert download_id not in self.lost
            assert len(starts) == len(script)
            assert script[-1] == "lands"
            assert record["file_path"] == self.landed[download_id]
            assert record["attempt"] == 1 + script.count("fails")
        else:
            assert phase == "failed"
            assert any(error.startswith(reason) for reason in self._reasons(download_id)), record

    def _refusals(self) -> tuple[type[Exception], ...]:
        """What a dispatch may have raised in this play."""
        refusals: list[type[Exception]] = []
        if self.closed:
            refusals.append(EngineClosed)
        if self.world.policy.max_queued is not None:
            refusals.append(QueueFull)
        if self._goes_down():
            refusals.append(SourceDown)
        return tuple(refusals)

    def _goes_down(self) -> bool:
        """Whether crashes may have brought the source down."""
        return self.crashes > self.world.policy.restart.intensity

    def _reasons(self, download_id: str) -> list[str]:
        """The errors with which a download may have failed in this play."""
        reasons = []
        if self.closed and "fails" in self._script(download_id):
            reasons.append("reset")
        takes_along = self.world.policy.on_crash == "error_queued"
        if download_id in self.lost or (self.crashes and takes_along):
            reasons.append("worker crash: ")
        if self.closed:
            reasons.append("engine closed")
        if self._goes_down():
            reasons.append("source down: ")
        if "hangs" in self._script(download_id):
            reasons.append("timed out after 2 s")
        return reasons
