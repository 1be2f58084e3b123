"""What happens in a round, decided by its seed before anything runs: every policy, every call, every impl's deed.

Nothing here depends on the order in which threads come to their turns: each caller and each source has a
``random.Random`` of its own, seeded with the seed, the round and its name. All of a plan is plain values, so that two
plans can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Final, NamedTuple

from tests.chaos.setups import Setup, draw_setup, first_setups

__all__ = ["Action", "Deed", "Errand", "Plan", "draw_plan"]

DEEDS: Final[Mapping[str, float]] = {
    # ends well
    "instant": 18, "slow": 14, "progress": 4, "path_like": 1, "linger": 1,
    # fails
    "error": 6, "no_text": 1, "bad_text": 1, "permanent": 3, "none": 2, "empty": 1, "memory": 1, "recursion": 0.5,
    "group": 0.5, "stop_iteration": 0.5, "coroutine": 1, "bad_result": 1, "throttled": 2, "gives_up": 0.5,
    "number": 1, "async_cancelled": 0.7,
    # crashes its source
    "exit": 0.7, "interrupt": 0.7, "source_crashed": 0.7, "generator_exit": 0.7, "own_base": 0.7,
    "deadly_result": 0.4,
    # hangs
    "hang": 1, "late": 1, "late_crash": 0.5, "polite": 2,
    # calls the engine itself
    "reads": 3, "writes": 3, "own_states": 3, "storm": 1.5, "cancel_own": 1, "cancel_other": 1.5, "remove_own": 0.3,
    "follow_up": 3, "limits": 0.7, "wait_own": 0.3, "wait_other": 0.5, "collect": 0.2,
}  # fmt: skip
"""What impls do, and how often beside one another."""

SIMPLE: Final = ("instant", "slow", "error", "none", "permanent")

ACTIONS: Final[Mapping[str, float]] = {
    "dispatch": 40, "burst": 6,
    "cancel": 8, "cancel_old": 2, "cancel_unknown": 0.7, "cancel_and_remove": 2,
    "pause": 1.5, "resume": 4, "set_concurrency": 2, "set_delay": 1.5, "register": 1.2, "revive": 3,
    "patch": 6, "patch_state": 3, "patch_cancel": 1.5, "patch_unless": 2, "cancel_unless": 1,
    "add": 1, "replace": 0.4, "remove": 1.5, "clear": 0.4,
    "read": 5, "read_all": 1, "iterate": 1, "stats": 1.5, "explain": 2,
    "wait": 2, "as_completed": 1.5, "subscribe": 1, "unsubscribe": 1,
    "collect": 0.3, "step_clock": 0.8,
}  # fmt: skip
"""What callers do."""

FIXED: Final = frozenset({"set_concurrency", "set_delay", "register"})
"""What is not done to a steady source, where limits and delays are held against the plan."""

STRANGERS: Final[Mapping[str, float]] = {
    "start": 6, "ask": 10, "stop": 2, "stop_all": 2, "broadcast": 1, "exit": 1,
}  # fmt: skip
"""What another part of the program does with actors of its own, and with pykka."""

KILLS: Final[Mapping[str, float]] = {"working": 5, "idle": 4, "supervisor": 1, "store": 0.3}
"""In whom an exception is raised from outside: see ``harm.Killer``."""

ENDINGS: Final = (
    "abrupt", "patient", "drain", "drain_in_vain", "many", "impl", "callback", "loop", "dropped",
)  # fmt: skip


class Deed(NamedTuple):
    """What an impl does in one attempt: for how long, and (``pick``, from 0 to 1) to whom."""

    kind: str
    seconds: float
    pick: float


@dataclass(frozen=True)
class Errand:
    """A target id: what its impl does, attempt by attempt (the last deed is done again), and how it is dispatched."""

    number: int
    deeds: tuple[Deed, ...]
    form: int
    child: Errand | None = None


class Action(NamedTuple):
    """One call: on what, and how long its caller then pauses."""

    kind: str
    source: str
    pick: float
    seconds: float
    pause_s: float
    errands: tuple[Errand, ...] = ()
    setup: Setup | None = None


@dataclass(frozen=True)
class Plan:
    """One round: one engine, its sources, its callers and its end."""

    seed: int
    number: int
    sources: tuple[Setup, ...]
    callers: tuple[tuple[Action, ...], ...]
    loops: tuple[tuple[Action, ...], ...]
    """Tasks of one asyncio loop."""
    strangers: tuple[Action, ...]
    kills: tuple[Action, ...]
    sabotage: int | None
    """The seed of those who have slots fail to start; None for a round without."""
    ending: str
    settles: bool
    """Whether everything may come to its end before the engine is closed."""
    closes_at: int | None
    """The first caller closes the engine in its so many-th action."""
    max_terminal: int
    max_age: float | None
    idle_timeout: float
    max_running: int | None
    traced: bool
    verbose: bool
    """Whether everything is logged."""


def draw_plan(seed: int, number: int, size: float = 1.0) -> Plan:
    """The ``number``-th round of ``seed``. ``size``: how much is done in it; 1 is a few seconds."""
    draw = Random(f"{seed}/{number}/round")
    setups = tuple(_per_source(seed, number))
    errands = count()
    callers = tuple(
        tuple(_actions(Random(f"{seed}/{number}/caller {each}"), setups, errands, int(260 * size))) for each in range(5)
    )
    loops = tuple(
        tuple(_actions(Random(f"{seed}/{number}/task {each}"), setups, errands, int(90 * size))) for each in range(3)
    )
    return Plan(
        seed=seed,
        number=number,
        sources=setups,
        callers=callers,
        loops=loops,
        strangers=tuple(_others(Random(f"{seed}/{number}/strangers"), STRANGERS, int(80 * size))),
        kills=tuple(_others(Random(f"{seed}/{number}/kills"), KILLS, int(50 * size))),
        sabotage=draw.randrange(2**32) if draw.random() < 0.4 else None,
        ending=ENDINGS[number % len(ENDINGS)] if draw.random() < 0.7 else draw.choice(ENDINGS),
        settles=draw.random() < 0.6,
        closes_at=int(260 * size * draw.uniform(0.5, 1.0)) if draw.random() < 0.12 else None,
        max_terminal=draw.choice([10_000, 10_000, 10_000, 400, 50, 0]),
        max_age=draw.choice([None, None, None, 3600.0, 0.2]),
        idle_timeout=draw.choice([600.0, 600.0, 0.2, 0.02, 0.005]),
        traced=draw.random() < 0.75,
        verbose=draw.random() < 0.3,
        max_running=draw.choice([None, None, None, 6, 3, 2]),
    )


def _per_source(seed: int, number: int) -> Iterator[Setup]:
    for setup in first_setups():
        yield draw_setup(Random(f"{seed}/{number}/source {setup.name}"), setup)


def _weighted(draw: Random, weights: Mapping[str, float]) -> str:
    return draw.choices(list(weights), list(weights.values()))[0]


def _others(draw: Random, weights: Mapping[str, float], many: int) -> Iterator[Action]:
    for _ in range(many):
        yield Action(_weighted(draw, weights), "", draw.random(), 0.0, draw.uniform(0.0, 0.06))


def _actions(draw: Random, setups: tuple[Setup, ...], errands: Iterable[int], many: int) -> Iterator[Action]:
    for _ in range(many):
        kind = _weighted(draw, ACTIONS)
        setup = draw.choice([each for each in setups if not (each.steady and kind in FIXED)])
        pause_s = 0.0 if draw.random() < 0.6 else draw.expovariate(1 / 0.008)
        seconds = draw.choice([0.0, 0.001, 0.004, 0.02])
        action = Action(kind, setup.name, draw.random(), seconds, min(pause_s, 0.05))
        if kind in ("dispatch", "burst"):
            made = (_errand(draw, setup, errands) for _ in range(1 if kind == "dispatch" else 12))
            action = action._replace(errands=tuple(made))
        elif kind == "register":
            action = action._replace(setup=draw_setup(draw, replace(setup, timeout=None, stall_timeout=None)))
        yield action


def _errand(draw: Random, setup: Setup, errands: Iterable[int]) -> Errand:
    number = next(iter(errands))
    first, second, last = (_deed(draw, setup) for _ in range(3))
    if last.kind == "throttled":  # it spends no attempt, and would be done again for ever
        last = last._replace(kind="error")
    deeds = (first, second, last)
    child = None
    if any(deed.kind == "follow_up" for deed in deeds):
        simple = Deed(draw.choice(SIMPLE), draw.uniform(0.0, 0.004), draw.random())
        child = Errand(next(iter(errands)), (simple,), draw.randrange(6))
    return Errand(number, deeds, draw.randrange(6), child)


def _deed(draw: Random, setup: Setup) -> Deed:
    kind = _weighted(draw, DEEDS)
    if kind == "hang" and not setup.may_hang and draw.random() < 0.95:
        kind = "slow"  # it would hold its slot until the end of the round
    seconds = draw.uniform(0.03, 0.15) if kind.startswith("late") else draw.choice([0.0, 0.001, 0.002, 0.004, 0.008])
    return Deed(kind, seconds, draw.random())
