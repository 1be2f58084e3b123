"""A source with what it told the store and the supervisor, and a ledger with a journal."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, TypeAlias

import pytest
from tests.ledgers import make_ledger

from haulier._engine import messages as m
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.source import Source
from haulier._engine.ticket import make_ticket
from haulier.policies import SourcePolicy
from haulier.transfer import Transfer

ON = 1_000_000.0
"""UTC seconds at which everything happens here."""


class Told:
    """A source and its post. ``put`` queues downloads, dispatched a second apart; ``start`` takes the next one."""

    def __init__(self, policy: SourcePolicy) -> None:
        self.store: list[Any] = []
        self.supervisor: list[Any] = []
        self._dispatched_on = count()
        self.source = Source("tidal", policy, lambda low, _high: low, self.store.append, self.supervisor.append)

    def put(self, *download_ids: str) -> None:
        for download_id in download_ids:
            on = float(next(self._dispatched_on))
            self.source.queue.put(make_ticket(download_id, "tidal", username="tidal", queued_at=on))

    def start(self, now: float = 0.0) -> Any:
        """The transfer, or when to ask again."""
        taken = self.source.attempts.take(now, ON)
        if isinstance(taken, Transfer):
            self.source.attempts.confirm(taken, now)
        return taken

    def crash(self, transfer: Transfer | None, cause: BaseException, now: float) -> None:
        """A slot dies, and is buried at once."""
        if transfer is not None:
            self.source.attempts.slot_died(transfer, now)
        self.source.crashed(transfer, cause, now, ON)

    def ends(self) -> list[tuple[str, str, str | None]]:
        """What the store was told, tickets and starts aside: event, id and error."""
        told = []
        for each in self.store:
            if isinstance(each, m.Moved):
                told.append((each.event, each.download_id, (each.patch or {}).get("error")))
            elif isinstance(each, m.Succeeded):
                told.append(("succeed", each.transfer.download_id, None))
        return told


MakeSource: TypeAlias = Callable[..., Told]


@pytest.fixture
def make() -> MakeSource:
    """``make(**policy)``: a source and its post."""
    return lambda **policy: Told(SourcePolicy(**policy))


@pytest.fixture(params=[False, True], ids=["nobody listens", "somebody listens"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """A ledger with a journal, once without and once with a listener."""
    made = make_ledger()
    made.apply(m.Listen(active=request.param))
    return made
