"""Whatever happens, and whichever writes fail: once one succeeds, what is on disk is what is in memory, and history."""

from __future__ import annotations

import json
import os
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from haulier import Retention, StoreUnavailable
from haulier._engine import messages as m
from haulier._engine.core.entry import is_terminal, phase_of, view
from haulier._engine.core.journal import Journal, standing_of
from haulier._engine.core.ledger import Ledger
from haulier._engine.shells.durable import DurableStore
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.recovery import INTERRUPTED, Recovery
from haulier._engine.shells.rows import stored_in
from haulier._engine.shells.tickets import ticket_of
from haulier._engine.storage.memory import MemoryStorage
from haulier._engine.ticket import make_ticket
from haulier.policies import SourcePolicy
from haulier.records import TERMINAL_PHASES
from haulier.transfer import Transfer

SOURCE, ON = "s", 1_000_000.0
EXAMPLES = int(os.environ.get("HAULIER_EXPLORE", "100"))


class Failing(MemoryStorage):
    """Fails when it is told to, before it has written or after."""

    fails: str | None = None

    def write(self, batch: Any) -> None:
        fails, self.fails = self.fails, None
        if fails != "before":
            super().write(batch)
        if fails is not None:
            raise StoreUnavailable("the disk is full")


class DiskAndMemory(RuleBasedStateMachine):
    """One source of an engine, without its threads."""

    @initialize(most=st.sampled_from([0, 2, 1000]), resumes=st.booleans(), listens=st.booleans())
    def open(self, most: int, resumes: bool, listens: bool) -> None:
        self.retention, self.resumes, self.listens = Retention(max_terminal=most, max_age=50.0), resumes, listens
        self.numbers = count(1)
        self.now = ON
        self.storage = Failing()
        self.transfers: dict[str, Transfer] = {}
        self.ended: dict[str, str] = {}
        """What the engine ended, and how."""
        self.replaced: dict[str, str | None] = {}
        """The same, and ``add_record`` put a record of its own in its place."""
        self.begin()

    def begin(self) -> None:
        self.journal = Journal(lambda _: True)
        self.ledger = Ledger(self.retention, self.journal)
        self.store = DurableStore(self.ledger, self.journal, self.storage, self.retention, lambda _: self.resumes)
        self.mailbox = Mailbox(SOURCE, SourcePolicy(), lambda _: None, lambda _: None, 1.0, None, self.store.ask)
        recovery = Recovery(self.storage, self.ledger, self.journal, lambda _: self.mailbox)
        if self.listens:
            self.store.tell(m.Listen(active=True))
            self.store.drain()
        self.transfers.clear()
        recovery.run()

    def tell(self, *messages: Any) -> None:
        for message in messages:
            self.store.tell(message)
        self.store.drain()
        for download_id, held in self.bucket.items():
            if is_terminal(held) and phase_of(held) is not None:
                self.ended.setdefault(download_id, str(phase_of(held)))

    @property
    def bucket(self) -> dict[str, Any]:
        return self.ledger.table.buckets.get(SOURCE, {})

    def some(self, data: st.DataObject, *phases: str | None) -> str | None:
        ids = [each for each, held in self.bucket.items() if phase_of(held) in phases]
        return data.draw(st.sampled_from(ids)) if ids else None

    # ---- what happens ------------------------------------------------------------------------------------------------

    @rule(how_many=st.integers(1, 3), own=st.booleans(), extras=st.booleans())
    def dispatch(self, how_many: int, own: bool, extras: bool) -> None:
        ids = [f"{next(self.numbers)}" for _ in range(how_many)]
        fields = ("url", "tags", "http://x", [1, {"a": None}]) if extras else None
        tickets = [
            make_ticket(each, SOURCE, display_name="n", filename="f", username=SOURCE, fields=fields, queued_at=ON)
            for each in ids
        ]
        impl = '"json:loads"' if own else "null"
        texts = [f'[null,"n","f",null,{impl},null,{json.dumps(_dict(fields))},{ON!r}]' for _ in ids]
        before = dict(self.bucket)
        try:
            self.store.ask(m.Add(SOURCE, tickets, texts))
        except StoreUnavailable:
            assert self.bucket.keys() <= before.keys()

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        download_id = self.some(data, "queued", "backing_off")
        if download_id is not None:
            held = self.bucket[download_id]
            ticket = (
                held
                if type(held) is tuple
                else make_ticket(download_id, SOURCE, display_name="n", filename="f", username=SOURCE, queued_at=ON)
            )
            standing = standing_of(held)
            transfer = Transfer(ticket, 1 if standing is None else standing.attempts + 1, {}, 5.0, self.now)
            if standing is not None:
                transfer.first_start, transfer.idle_s = 5.0 - (self.now - standing.first_on), standing.idle_s
            self.transfers[download_id] = transfer
            self.tell(transfer)

    @rule(data=st.data(), how=st.sampled_from(["succeed", "fail", "back_off", "put_back", "cancel"]))
    def come_to_an_end(self, data: st.DataObject, how: str) -> None:
        download_id = self.some(data, "running")
        if download_id is None:
            return
        transfer = self.transfers.pop(download_id)
        patch: dict[str, Any] = {}
        standing = None
        if how == "succeed":
            self.told(download_id, "succeeded", m.Succeeded(transfer, "/x", self.now))
            return
        if how in ("back_off", "put_back"):
            patch["next_attempt_at"] = self.now + 3.0
            standing = m.Standing(transfer.attempt - (how == "put_back"), self.now - 1.0, 3.0, self.now + 3.0)
        if how in ("fail", "back_off"):
            patch |= {"error": "reset", "error_type": "OSError"}
        moved = m.Moved(how, SOURCE, download_id, transfer, patch, self.now, standing)
        self.told(download_id, {"fail": "failed", "cancel": "cancelled"}.get(how), moved)
        if how == "cancel":
            self.tell(m.Paced(SOURCE, self.now, None))

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        download_id = self.some(data, "queued", "backing_off")
        if download_id is not None:
            self.told(download_id, "cancelled", m.Moved("cancel", SOURCE, download_id, None, None, self.now))

    def told(self, download_id: str, phase: str | None, message: Any) -> None:
        if phase is not None:
            self.ended[download_id] = phase
        self.tell(message)

    @rule(data=st.data(), urgent=st.booleans(), number=st.integers())
    def patch(self, data: st.DataObject, urgent: bool, number: int) -> None:
        download_id = self.some(data, *TERMINAL_PHASES, "queued", "backing_off", "running", None)
        if download_id is not None:
            state = {"state": "Completed, Succeeded"} if urgent else {}
            self.tell(m.Patch(SOURCE, download_id, {"note": number, **state}))

    @rule(data=st.data(), over=st.booleans(), anew=st.booleans())
    def put(self, data: st.DataObject, over: bool, anew: bool) -> None:
        download_id = None if anew else self.some(data, *TERMINAL_PHASES, "queued", "running", None)
        if download_id is None:
            download_id = f"mine-{next(self.numbers)}"
        held = self.bucket.get(download_id)
        if held is not None and is_terminal(held):
            self.replaced[download_id] = self.ended.pop(download_id, None)  # it is its callers' from now on
        self.tell(m.Put(SOURCE, download_id, {"state": "Errored" if over else "InProgress"}))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        download_id = self.some(data, *TERMINAL_PHASES, None)
        if download_id is not None:
            self.store.ask(m.Remove(SOURCE, download_id))

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        download_id = self.some(data, "queued")
        if download_id is not None:
            self.tell(m.Forget(SOURCE, download_id))

    @rule(seconds=st.sampled_from([1.0, 20.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.store.drain()

    @rule(how=st.sampled_from(["before", "after"]))
    def the_next_write_fails(self, how: str) -> None:
        self.storage.fails = how

    @rule()
    @precondition(lambda self: self.store.failure is None)
    def the_process_is_killed_and_comes_again(self) -> None:
        self.write()
        running = [each for each, held in self.bucket.items() if phase_of(held) == "running"]
        self.storage = Failing(self.storage)
        self.begin()
        for download_id in running:
            if not self.resumes:
                self.ended[download_id] = "failed"
        if self.resumes:
            assert all(phase_of(self.bucket[each]) == "queued" for each in running)
        elif self.retention.max_terminal == 1000:
            assert all(view(self.bucket[each])["error"] == INTERRUPTED for each in running)
        self.write()

    # ---- what must be so ---------------------------------------------------------------------------------------------

    def write(self) -> None:
        self.storage.fails = None
        self.store._retry_at = 0.0
        self.store._write()

    @rule()
    def all_is_written(self) -> None:
        self.write()
        assert not self.journal.batch
        rows = list(self.storage.load().rows)
        assert {row.id for row in rows} == set(self.bucket)
        for row in rows:
            held = self.bucket[row.id]
            ticket = None if row.ticket is None else ticket_of(row.id, row.source, row.ticket, lambda _: None)
            assert view(stored_in(row, ticket)) == view(held)
            standing = standing_of(held)
            assert (row.phase, row.tried) == (phase_of(held), None if standing is None else str(list(standing)))
            assert (row.ended_on is not None) == is_terminal(held)
        waiting = [row.id for row in rows if row.phase == "queued" and row.id.isdigit()]
        assert waiting == sorted(waiting, key=int), "in the order of their dispatch"
        history = {row.id: row.phase for row in self.storage.history(limit=10_000) if row.phase is not None}
        assert history == self.ended

    @invariant()
    def nothing_is_written_that_is_not_so(self) -> None:
        if not hasattr(self, "storage"):
            return
        for row in self.storage.history(limit=10_000):
            if row.phase is not None:
                ended = self.ended.get(row.id) or self.replaced.get(row.id)
                assert ended == row.phase, "an end that nobody told of"
        assert self.ledger.dead_letters == []


def _dict(fields: tuple[Any, ...] | None) -> dict[str, Any]:
    return {} if fields is None else dict(zip(fields[:2], fields[2:], strict=True))


pytestmark = pytest.mark.expect_errors("the store cannot write; trying again")
TestDiskAndMemory = DiskAndMemory.TestCase
TestDiskAndMemory.settings = settings(max_examples=EXAMPLES, stateful_step_count=40)
