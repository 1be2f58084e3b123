"""A supervisor that is stopped at the end, a register for its workers, and one for its events."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pykka
import pytest
from tests.supervision.workers import GUARD_S, Register

from haulier.supervision import Supervisor


@pytest.fixture
def register() -> Register:
    """What the lives of a worker noted."""
    return Register()


@pytest.fixture
def make_supervisor(no_thread_left: object) -> Iterator[Callable[[], Supervisor]]:
    """Supervisors that are stopped at the end, and have then left nothing in pykka's registry."""
    made: list[Supervisor] = []

    def make() -> Supervisor:
        made.append(Supervisor())
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop(GUARD_S)
    assert pykka.ActorRegistry.get_all() == []


@pytest.fixture
def supervisor(make_supervisor: Callable[[], Supervisor]) -> Supervisor:
    """One supervisor."""
    return make_supervisor()


@pytest.fixture
def heard(supervisor: Supervisor) -> Register:
    """The events of ``supervisor``."""
    events = Register()
    supervisor.subscribe(events)
    return events
