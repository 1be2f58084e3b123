"""Watch a simulated source and fail when a promise is broken. A witness keeps its own books, not the core's."""

from __future__ import annotations

from math import inf

from tests.simulation.answers import Answers
from tests.simulation.books import Books, Run, Start

from haulier._engine.core.entry import Entry, is_terminal, view
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.outcome import BackOff, Failed, Outcome, PutBack, StoppedEarly
from haulier._engine.core.source import Source
from haulier._engine.messages import Succeeded
from haulier.events import Changed
from haulier.policies import SourcePolicy
from haulier.records import STATE_OF_PHASE, TERMINAL_PHASES, Phase
from haulier.testing import VirtualClock
from haulier.transfer import Transfer

__all__ = ["Witness"]


class Witness:
    """Sees every start, end and cancel of a simulated source; each method raises ``AssertionError`` for a wrong one."""

    def __init__(self, source: Source, ledger: Ledger, clock: VirtualClock) -> None:
        self.limit = source.slots.limit
        self.delay = source.gate.delay
        self.policy: SourcePolicy = source.policy
        self.running: dict[str, Run] = {}
        self.starts: list[Start] = []
        self.peak = 0
        """The most impls that ever ran at once, zombies aside."""
        self.fates: dict[str, str] = {}
        """The phase in which each download must end, once that is settled."""
        self.arrivals: list[str] = []
        """In the order in which they came into the queue."""
        self.accepted: set[str] = set()
        self.withdrawn: set[str] = set()
        """Cancelled or dropped while they waited: they must never start."""
        self.gaps: list[float] = []
        """Seconds from the end or start before to each start that had one before it."""
        self.paused = False
        self.on_probation = False
        self.swept = False
        """Whether what waited was failed at some moment: the source crashed, went down or was closed."""
        self.no_thread_until = -inf
        """The machine would not give a thread; it is asked again then."""
        self.suspended_until = -inf
        self.books = Books(source.policy)
        self.answers = Answers(self, self.books, source, clock)
        self._source, self._ledger, self._now = source, ledger, clock.monotonic
        self._last_end = self._last_start = -inf
        self._suspended_at = -inf
        self._unburied = 0
        self._started: set[str] = set()
        self._heads: set[str] = set()
        self._ended: dict[str, tuple[object, ...]] = {}
        self._phases: dict[str, str] = {}

    @property
    def in_flight(self) -> int:
        """Impls that run, zombies aside."""
        return sum(not run.is_zombie for run in self.running.values())

    @property
    def most(self) -> int:
        """How many impls may run at once just now."""
        return 1 if self.on_probation else self.limit

    @property
    def is_spaced(self) -> bool:
        """Whether there may be a delay between two."""
        return self.delay > 0 or self.policy.delay_floor > 0

    @property
    def is_hampered(self) -> bool:
        """Whether something is amiss of which the source knows nothing: it has lost a slot, or could not hire one."""
        return self._unburied > 0 or self._now() < self.no_thread_until

    # ---- what callers do ---------------------------------------------------------------------------------------------

    def dispatched(self, download_id: str, on: float) -> None:
        """A download is known from now on."""
        self.books.dispatched(download_id, on)
        self.answers.dispatched()

    def arrived(self, download_id: str) -> None:
        """The download enters the queue."""
        self.arrivals.append(download_id)
        self.books.arrived(download_id)

    def refused(self, download_id: str) -> None:
        """Its dispatch raised."""
        self.accepted.discard(download_id)
        self.books.gone(download_id)

    def cancelled(self, download_id: str, waited: bool) -> None:
        """A cancel returned True."""
        assert download_id not in self.fates, f"{download_id} is over ({self.fates[download_id]}), and is cancelled"
        self.fates[download_id] = Phase.CANCELLED
        self.answers.changed()
        if waited:
            self.withdrawn.add(download_id)
            self.books.gone(download_id)

    def trimmed(self, new: str) -> None:
        """A ``new`` download is in the queue, which may drop others for it."""
        for download_id in self.books.dropped(new):
            self.fates[download_id] = Phase.FAILED
            self.withdrawn.add(download_id)
        self.answers.changed()

    def set_rules(self, *, limit: int | None = None, delay: float | None = None, paused: bool | None = None) -> None:
        """Other rules hold from now on."""
        self.limit = self.limit if limit is None else limit
        self.delay = self.delay if delay is None else delay
        self.paused = self.paused if paused is None else paused
        self.answers.changed()

    def closed(self) -> None:
        """The engine takes nothing any more."""
        self.swept = True
        self.books.closed(self._source.queue.pending)
        self.answers.changed()

    def revived(self) -> None:
        """The source takes downloads again, where it was down."""
        self.books.revived()
        self.answers.changed()

    # ---- what becomes of a download ----------------------------------------------------------------------------------

    def took(self, transfer: Transfer) -> None:
        """A slot took a download."""
        now, download_id = self._now(), transfer.download_id
        assert download_id not in self.running, f"{download_id} runs twice at once"
        assert download_id not in self.withdrawn, f"{download_id} was cancelled while it waited, and starts"
        assert download_id not in self.fates, f"{download_id} is over ({self.fates[download_id]}), and starts"
        assert not self.paused, "a start while paused"
        assert self._source.refusal is None, f"a start at a source that is {self._source.refusal}"
        self._see_spacing(now)
        self._see_order(download_id)
        self.answers.took(download_id)
        self.books.took(download_id)
        self.running[download_id] = Run(transfer)
        self._started.add(download_id)
        self._heads.discard(download_id)
        self._last_start = now
        self.starts.append(Start(download_id, transfer.attempt, now))
        self.peak = max(self.peak, self.in_flight)
        assert self.in_flight <= self.most, f"{self.in_flight} run at once, and {self.most} may"

    def _see_spacing(self, now: float) -> None:
        policy = self.policy
        low = 1.0 if policy.jitter is None else policy.jitter[0]
        delay = max(self.delay * low, policy.delay_floor)
        since = self._last_start if policy.delay_from == "start" else max(self._last_start, self._last_end)
        if since > -inf:
            self.gaps.append(now - since)
        assert now - since >= delay, f"{now - since} s after the one before, and the delay is {delay} s"
        assert now >= self.suspended_until, f"{self.suspended_until - now} s before the suspension ends"

    def _see_order(self, download_id: str) -> None:
        if download_id in self._started:
            return
        waiting = self._source.queue.pending
        heads = [each for each in self._heads if each in waiting]
        assert not heads, f"{download_id} starts before {heads}, which went back to the head"
        ahead = self.arrivals[: self.arrivals.index(download_id)]
        passed = [each for each in ahead if each in waiting and each not in self._started]
        assert not passed, f"{download_id} starts before {passed}, which came first"

    def called(self, transfer: Transfer) -> None:
        """Its impl is called now."""
        if not self.running[transfer.download_id].is_zombie:
            self._last_start = max(self._last_start, transfer.started_at)
        self.answers.changed()

    def returned(self, transfer: Transfer) -> None:
        """An impl came back, whether its slot has reported it or not."""
        del self.running[transfer.download_id]
        self.answers.changed()

    def settled(self, transfer: Transfer, outcome: Outcome, was_zombie: bool) -> None:
        """A slot reported an outcome."""
        download_id = transfer.download_id
        self.answers.changed()
        if was_zombie:
            self.books.zombie_returned()
            return
        self.books.let_go(download_id)
        self._last_end = self._now()
        if isinstance(outcome, PutBack):
            self.on_probation = True
            self._suspended_at = self._now()
            self.suspended_until = max(self.suspended_until, self._now() + outcome.seconds)
        elif transfer.started_at > self._suspended_at:
            self.on_probation = False
        if download_id in self.fates:
            return
        goes_on = self._source.refusal is None
        if isinstance(outcome, Succeeded):
            self.fates[download_id] = Phase.SUCCEEDED
        elif isinstance(outcome, StoppedEarly) and goes_on:
            self.fates[download_id] = Phase.CANCELLED
        elif isinstance(outcome, (Failed, StoppedEarly)) or not goes_on:
            self.fates[download_id] = Phase.FAILED
        elif isinstance(outcome, (BackOff, PutBack)):
            assert download_id in self._source.queue.pending, f"{download_id} is to go on, and nobody keeps it"
            if isinstance(outcome, PutBack):
                self._heads.add(download_id)
                self.books.put_back(download_id)
            else:
                self.books.backs_off(download_id, self._now() + outcome.seconds)

    def due(self, download_id: str) -> None:
        """A back-off is over."""
        self.books.due(download_id)
        if download_id in self._source.queue.pending:
            self._heads.add(download_id)

    def given_up(self, transfer: Transfer) -> None:
        """The engine no longer waits for a run."""
        self.answers.changed()
        self.books.gave_up(transfer.download_id, self._source.queue.pending)
        run = self.running.get(transfer.download_id)
        if run is not None:
            run.is_zombie = True
        self._last_end = self._now()
        self.fates.setdefault(transfer.download_id, Phase.FAILED)
        self.swept = self.swept or self._source.refusal is not None

    def died(self, transfer: Transfer | None) -> None:
        """The thread of a slot dies, with this in hand: its impl is over, or is never called."""
        self._unburied += 1
        self.answers.changed()
        run = None if transfer is None else self.running.get(transfer.download_id)
        if run is not None and run.transfer is transfer:
            del self.running[run.transfer.download_id]

    def fell(self, transfer: Transfer) -> None:
        """A slot dies with this in hand."""
        if self._source.attempts.in_flight.get(transfer.download_id) is transfer:
            self._last_end = self._now()
            self.answers.changed()

    def crashed(self, transfer: Transfer | None, was_zombie: bool, at: float) -> None:
        """The supervisor buried a slot that died ``at``."""
        self._unburied -= 1
        self.answers.changed()
        if transfer is not None and transfer.given_up:
            self.books.zombie_returned()
        else:
            self.books.crashed(at, self._source.queue.pending)
        if transfer is not None and not was_zombie:
            self.books.let_go(transfer.download_id)
            self.fates.setdefault(transfer.download_id, Phase.FAILED)
        self.swept = self.swept or self.policy.on_crash == "error_queued" or self._source.refusal is not None

    def rests(self, until: float) -> None:
        """After a crash nobody is hired before."""
        self.books.rests(until)

    def rested(self, at: float) -> None:
        """A rest that was to last until ``at`` is over."""
        self.books.rested(at)

    def no_thread(self, until: float) -> None:
        """The machine would not give a thread; it is asked again then."""
        self.no_thread_until = until
        self.answers.changed()

    # ---- what it looks at --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """After each step: nothing came too late, and the source can count."""
        assert self._ledger.dead_letters == [], f"messages came too late: {self._ledger.dead_letters}"
        assert self._source.slots.live >= 0, f"{self._source.slots.live} slots"
        assert self._source.slots.zombies >= 0, f"{self._source.slots.zombies} zombies"
        self.answers.look()

    def look_at_records(self) -> None:
        """After each message to the store: the records tell of what happened, and what is over stays as it is."""
        for bucket in self._ledger.table.buckets.values():
            for download_id, held in bucket.items():
                if is_terminal(held):
                    record = held.record if isinstance(held, Entry) else view(held)
                    self._see_end(download_id, record["phase"], (record["phase"], record["state"], record["file_path"]))
        self._hear()

    def _see_end(self, download_id: str, phase: str, told: tuple[object, ...]) -> None:
        before = self._ended.setdefault(download_id, told)
        assert told == before, f"{download_id} was over as {before}, and is now {told}"
        assert told[1] == STATE_OF_PHASE[phase], f"{download_id}: {told}"
        fate = self.fates.get(download_id, Phase.FAILED if self.swept else "nothing yet")
        assert phase == fate, f"the record of {download_id} says {phase}, and it came to {fate}"

    def _hear(self) -> None:
        for event in self._ledger.table.events or ():
            if isinstance(event, Changed):
                before = self._phases.get(event.download_id)
                assert before not in TERMINAL_PHASES, f"{event.phase} of {event.download_id} after {before}"
                assert event.phase != before, f"{event.phase} of {event.download_id} is told twice"
                self._phases[event.download_id] = event.phase
        if self._ledger.table.events:
            self._ledger.table.events.clear()

    def look_at_rest(self) -> None:
        """Once nobody has anything to do until time passes: nothing is left lying that could start."""
        if self._unburied:
            return  # nobody has heard of that death yet: the source still counts on the slot
        source, now = self._source, self._now()
        waiting = [each for each in source.queue.ids if each in source.queue.pending]
        closed = (
            source.refusal is not None
            or source.slots.resting
            or now < max(source.gate.opens_at(), self.no_thread_until)
        )
        full = len(source.attempts.in_flight) >= source.gate.limit(source.slots.limit)
        self.answers.look_at_rest()
        self._see_counts()
        assert not waiting or closed or full, f"{waiting} could start, and nobody takes them: a lost wake-up"
        in_flight = {each for each, run in self.running.items() if not run.is_zombie}
        assert in_flight == set(source.attempts.in_flight), (
            f"{in_flight} run, and the source has {set(source.attempts.in_flight)}"
        )
        assert source.slots.zombies == len(self.running) - len(in_flight), (
            f"the source counts {source.slots.zombies} zombies"
        )

    def _see_counts(self) -> None:
        """Whether stats() counts the ends."""
        phases = [str(told[0]) for told in self._ended.values()]
        ends = {phase: phases.count(phase) for phase in TERMINAL_PHASES}
        told = self._ledger.counts.get(self._source.name, dict.fromkeys(TERMINAL_PHASES, 0))
        assert told == ends, f"{told} are counted, and {ends} have ended"

    def look_at_end(self) -> None:
        """Once everybody has had their turn: every download is over, and none is lost."""
        records = {each: view(held) for bucket in self._ledger.table.buckets.values() for each, held in bucket.items()}
        assert set(records) == self.accepted, f"records of {set(records) ^ self.accepted} are missing, or one too many"
        open_still = {each: record["phase"] for each, record in records.items() if each not in self._ended}
        assert not open_still, f"these never end: {open_still}"
