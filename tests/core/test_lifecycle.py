"""The table of phases and events: every pair, against ``behaviour.md#states``."""

from __future__ import annotations

import pytest

from haulier._engine.core.lifecycle import TABLE, next_phase
from haulier.records import STATE_OF_PHASE, TERMINAL_PHASES, TERMINAL_STATES

PHASES = ["queued", "running", "backing_off", "succeeded", "failed", "cancelled"]
EVENTS = ["take", "succeed", "fail", "back_off", "put_back", "take_back", "cancel"]
MOVES = {
    ("queued", "take"): "running",
    ("queued", "cancel"): "cancelled",
    ("queued", "fail"): "failed",
    ("running", "succeed"): "succeeded",
    ("running", "fail"): "failed",
    ("running", "back_off"): "backing_off",
    ("running", "put_back"): "queued",
    ("running", "take_back"): "queued",
    ("running", "cancel"): "cancelled",
    ("backing_off", "take"): "running",
    ("backing_off", "cancel"): "cancelled",
    ("backing_off", "fail"): "failed",
}


@pytest.mark.parametrize("event", [*EVENTS, "nonsense"])
@pytest.mark.parametrize("phase", PHASES)
def test_every_pair(phase: str, event: str) -> None:
    assert next_phase(phase, event) == MOVES.get((phase, event))


def test_the_table_knows_no_other_phase_and_no_other_event() -> None:
    assert set(TABLE) == set(PHASES)
    assert {event for row in TABLE.values() for event in row} == set(EVENTS)


@pytest.mark.parametrize("phase", sorted(TERMINAL_PHASES))
def test_nothing_leaves_a_terminal_phase(phase: str) -> None:
    assert TABLE[phase] == {}


def test_every_phase_has_its_promised_state() -> None:
    assert STATE_OF_PHASE == {
        "queued": "Initializing",
        "backing_off": "Initializing",
        "running": "InProgress, Downloading",
        "succeeded": "Completed, Succeeded",
        "failed": "Errored",
        "cancelled": "Cancelled",
    }
    assert {STATE_OF_PHASE[phase] for phase in TERMINAL_PHASES} == TERMINAL_STATES


def test_every_phase_that_is_not_terminal_leads_to_an_end() -> None:
    for phase in set(PHASES) - TERMINAL_PHASES:
        assert set(TABLE[phase].values()) & TERMINAL_PHASES
