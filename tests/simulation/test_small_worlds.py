"""Every fault at every step of a download's life, and pairs of faults, in worlds small enough to try them all.

Each world is played with one fault before each of its moves; then with a second one, at the same place or later: a
sample of these, or all of them with ``HAULIER_WORLDS=all``. After each, the faults end, everybody has their turns, and
every download must have come to what it had to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import inf
from random import Random
from typing import NamedTuple

import pytest
from tests.simulation.harm import Fault, faults_of
from tests.simulation.worlds import WORLDS, Play, World

ALL = os.environ.get("HAULIER_WORLDS") == "all"
EXPLORE = int(os.environ.get("HAULIER_EXPLORE", "0"))
PAIRS = 20 * EXPLORE or 250
"""Pairs of faults per world and order of turns. Without ``HAULIER_EXPLORE``, the same ones each time."""

LEAST = {
    "one alone": 285, "two in turn": 470, "three, two at once": 950, "slots leave while others run": 950,
    "a delay": 600, "a delay longer than patience": 820, "a delay between starts": 1380, "a retry": 660,
    "a retry, and a longer delay": 600, "throttled": 1230, "a hung impl": 520, "a full queue": 300, "a crash": 700,
    "a crash beside others": 1010, "a crash that takes the queue along": 590, "a crash too many": 390,
}  # fmt: skip
"""So many places there are at the least for one fault in each world: so that none is left out unnoticed."""


class Harm(NamedTuple):
    """A fault before the ``moment``-th move."""

    moment: int
    fault: str


def played(world: World, newest_first: bool, faults: dict[str, Fault], *plan: Harm) -> Play | None:
    """The world after its end, where each of ``plan`` could be done; each can, but for the last."""
    play = Play(world, newest_first)
    try:
        for harm in plan:
            play.go_to(harm.moment)
            if not faults[harm.fault](play) and harm is plan[-1]:
                return None
        play.finish()
    except Exception as error:
        error.add_note(f"in the world of {world.name!r}, {newest_first=}, after {plan}")
        raise
    return play


def second_harms(lengths: dict[Harm, int], faults: dict[str, Fault]) -> Iterator[tuple[Harm, Harm]]:
    """Pairs of faults: all of them, or a sample."""
    spans = {first: (length - first.moment + 1) * len(faults) for first, length in lengths.items()}
    size, names = sum(spans.values()), list(faults)
    some = range(size) if ALL or size < PAIRS else sorted(Random(None if EXPLORE else 0).sample(range(size), PAIRS))
    chosen, start = iter(some), 0
    number = next(chosen, inf)
    for first, span in spans.items():
        while number < start + span:
            later, which = divmod(int(number) - start, len(names))
            yield first, Harm(first.moment + later, names[which])
            number = next(chosen, inf)
        start += span


@pytest.mark.parametrize("newest_first", [False, True], ids=["in turn", "newest first"])
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@pytest.mark.timeout(0 if ALL else 600)
def test_whatever_goes_wrong_wherever(world: World, newest_first: bool) -> None:
    faults = faults_of(world)
    undisturbed = played(world, newest_first, faults)
    assert undisturbed is not None
    lengths = {
        harm: play.moves
        for moment in range(undisturbed.moves + 1)
        for name in faults
        if (play := played(world, newest_first, faults, harm := Harm(moment, name))) is not None
    }
    assert len(lengths) >= LEAST[world.name]
    tried = sum(played(world, newest_first, faults, *plan) is not None for plan in second_harms(lengths, faults))
    assert tried >= (len(lengths) ** 2 // 3 if ALL else PAIRS // 2)
    print(f"{world.name}: {len(lengths)} faults, {tried} pairs")
