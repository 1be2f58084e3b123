"""What may go wrong in a small world, at any moment. A fault returns False where it is not possible just then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from tests.simulation.worlds import Crash, Play, World

__all__ = ["Fault", "faults_of"]

Fault: TypeAlias = Callable[[Play], bool]


def faults_of(world: World) -> dict[str, Fault]:
    """Whatever may go wrong in a world, by name."""
    return {
        **{f"slot {number} dies": partial(kill, number=number) for number in range(world.policy.concurrency)},
        **{f"cancel {number}": partial(cancel, number=number) for number in range(len(world.script))},
        "limit up": partial(change_limit, by=+1),
        "limit down": partial(change_limit, by=-1),
        "pause": partial(set_paused, paused=True),
        "resume": partial(set_paused, paused=False),
        "delay on": partial(set_delay, seconds=1.0),
        "delay off": partial(set_delay, seconds=0.0),
        "close": partial(close, at_once=False),
        "close at once": partial(close, at_once=True),
        "dispatch": dispatch,
        "revive": revive,
        "no thread": no_thread,
        "bad start": bad_start,
    }


def kill(play: Play, number: int) -> bool:
    """A slot dies where it waits."""
    living = [slot for slot in play.simulator.hired if slot.thread.wait is not None]
    if number >= len(living):
        return False
    play.lose(living[number])
    play.simulator.kill(living[number], Crash("the slot"))
    return True


def bad_start(play: Play) -> bool:
    """The next slot dies as it starts."""
    play.crashes += 1
    play.simulator.bad_starts.append(Crash("the start"))
    return True


def no_thread(play: Play) -> bool:
    """The next slot cannot be hired just then."""
    play.simulator.no_threads += 1
    return True


def cancel(play: Play, number: int) -> bool:
    """Somebody who knows of a download cancels it."""
    download_id = play.calls[number].download_id
    if download_id not in play.simulator.known:
        return False
    if play.simulator.cancel(download_id):
        play.cancelled.add(download_id)
    return True


def dispatch(play: Play) -> bool:
    """Somebody wants one more."""
    play.calls.append(play.simulator.dispatch())
    return True


def change_limit(play: Play, by: int) -> bool:
    """One slot more, or one less."""
    limit = play.simulator.source.slots.limit + by
    if limit >= 1:
        play.simulator.set_concurrency(limit)
    return limit >= 1


def set_paused(play: Play, paused: bool) -> bool:
    """Pause, or resume."""
    if play.simulator.witness.paused == paused:
        return False
    play.simulator.set_paused(paused)
    return True


def set_delay(play: Play, seconds: float) -> bool:
    """Another delay from now on."""
    if play.simulator.witness.delay == seconds:
        return False
    play.simulator.set_delay(seconds)
    return True


def close(play: Play, at_once: bool) -> bool:
    """The engine is closed; where it is to be ``at_once``, what runs is given up on."""
    if play.closed and not at_once:
        return False
    if not play.closed:
        play.simulator.close()
    if at_once:
        play.simulator.give_up()
    play.closed = True
    return True


def revive(play: Play) -> bool:
    """A source that is down is opened again."""
    refusal = play.simulator.source.refusal
    if refusal is None or refusal.kind != "down":
        return False
    play.simulator.revive()
    return True
