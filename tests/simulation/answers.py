"""What ``stats()`` and ``explain()`` would say of a simulated source, held against what is so, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Final

from tests.simulation.books import Books

from haulier._engine.core.source import Source
from haulier._engine.core.status import explanation_of, status_of
from haulier.status import Explanation
from haulier.testing import VirtualClock

if TYPE_CHECKING:
    from tests.simulation.witness import Witness

__all__ = ["Answers"]


TOLERANCE_S: Final = 1e-6
"""UTC seconds are too large numbers to be as exact as the monotonic ones that they are made of."""

MANY: Final = 5
"""Explained at each look at the most, of those in the line."""


class Answers:
    """Asks after each step at which something changed, and remembers the answers: they must come true.

    - Who is to start at a moment starts then, not before, and not after everybody had their turns.
    - Who waits for a slot, a pause or for good does not start.
    - Before ``next_start`` nobody does, and nobody at all where there is none.

    All that holds until ``changed``: what comes of itself (time, turns, dispatches behind, back-offs that end) must
    have been thought of.
    """

    def __init__(self, witness: Witness, books: Books, source: Source, clock: VirtualClock) -> None:
        self._witness, self._books, self._source, self._clock = witness, books, source, clock
        self.asks = True
        """Whether it asks at all."""
        self._starts_at: dict[str, float] = {}
        """When they are to start, as they were told."""
        self._held_back: set[str] = set()
        """Who was told that they wait for something else than time."""
        self._next_start: float | None = -inf
        self._turn = 0
        self._seen: object = None
        self._seen_at = -inf

    def changed(self) -> None:
        """Something happened that no answer had to know of."""
        self._starts_at.clear()
        self._held_back.clear()
        self._next_start = -inf
        self._seen = None

    def dispatched(self) -> None:
        """One more comes, behind all that wait in the queue; but not behind those who back off."""
        for each in self._books.back_offs:
            self._starts_at.pop(each, None)

    def next_promise(self) -> float:
        """The next moment at which somebody is to start; ``inf`` for none."""
        now = self._clock.monotonic()
        return min((at for at in self._starts_at.values() if at > now), default=inf)

    def took(self, download_id: str) -> None:
        """A slot takes a download."""
        self._let_time_pass()
        now = self._clock.monotonic()
        starts_at = self._starts_at.pop(download_id, now)
        assert now > starts_at - TOLERANCE_S, f"{download_id} was to start in {starts_at - now} s, and starts now"
        assert download_id not in self._held_back, f"{download_id} was held back, and starts"
        assert self._next_start is not None, f"no start was to come, and {download_id} starts"
        assert now > self._next_start - TOLERANCE_S, (
            f"no start was to come for {self._next_start - now} s: {download_id}"
        )

    def look_at_rest(self) -> None:
        """Everybody had their turns: who was to start has started."""
        now = self._clock.monotonic()
        late = [each for each, at in self._starts_at.items() if at <= now]
        assert not late, f"{late} were to start by now"

    def look(self) -> None:
        """After each step. Where nothing has changed since the last one, the answers have not either."""
        now, source = self._clock.monotonic(), self._source
        seen = (self._books.version, now, source.slots.live, source.gate.claims)
        if seen == self._seen or not self.asks:
            return
        self._let_time_pass()
        self._seen = seen
        self._see_status()
        for place in self._places():
            self._see_explanation(self._books.line[place], place)
        for each in self._books.queuing | self._books.back_offs.keys():
            self._see_explanation(each, None)

    def _places(self) -> Iterable[int]:
        """Whom to ask about: all of a short line; of a long one the first ones, the last, and one after the other."""
        length = len(self._books.line)
        if length <= MANY:
            return range(length)
        self._turn = (self._turn + 1) % length
        return {*range(MANY - 2), self._turn, length - 1}

    def _let_time_pass(self) -> None:
        """Where time passes before everybody had their turns, what was to happen before may come later."""
        now = self._clock.monotonic()
        if now > self._seen_at:
            self._starts_at = {each: at for each, at in self._starts_at.items() if at > now - TOLERANCE_S}
            self._seen_at = now

    def _see_status(self) -> None:
        now, on, books, witness = self._clock.monotonic(), self._clock.time(), self._books, self._witness
        status = status_of(self._source, {}, now, on)
        until = witness.suspended_until
        must_be = {
            "queued": len(books.line) + len(books.queuing) + len(books.back_offs),
            "in_flight": len(books.held),
            "restarts": books.restarts,
            "zombies": books.zombies,
            "concurrency": witness.limit,
            "delay": witness.delay,
            "down": books.is_down,
            "paused": witness.paused,
            "suspended_until": on + (until - now) if until > now else None,
        }
        told = {key: status[key] for key in must_be}  # type: ignore[literal-required]
        assert told == must_be, f"stats() says {told}, and it is {must_be}"
        next_start = status["next_start"]
        if not witness.is_hampered:
            self._next_start = None if next_start is None else now + (next_start - on)

    def _see_explanation(self, download_id: str, place: int | None) -> None:
        now, on, books = self._clock.monotonic(), self._clock.time(), self._books
        told = explanation_of(download_id, books.phases[download_id], self._source, now, on)
        assert told["position"] == place, f"{download_id} is at {place}: {told}"
        self._see_reason(download_id, told)
        if self._witness.is_hampered:
            return
        starts_on = told["earliest_start"]
        starts_at = None if starts_on is None else now + (starts_on - on)
        before = self._starts_at.get(download_id)
        if before is not None:
            is_so_still = starts_at is not None and abs(starts_at - max(now, before)) < TOLERANCE_S
            assert is_so_still, f"{download_id} was to start in {before - now} s: {told}"
        elif starts_at is not None:
            self._starts_at[download_id] = starts_at
        elif told["reason"] in ("slot", "pause", "down", "closed"):
            self._held_back.add(download_id)
        else:
            assert not self._depends_on_time(download_id, place), f"{download_id} is not told when: {told}"
        if told["reason"] is None and place is not None:
            overtaken = any(until <= now for until in books.back_offs.values())
            assert overtaken or starts_at == now, f"{download_id} is about to start, and not now: {told}"
        if starts_at is not None:
            held_until = self._held_until(download_id, told)
            assert starts_at > held_until - TOLERANCE_S, f"{download_id} is held back beyond its start: {told}"

    def _held_until(self, download_id: str, told: Explanation) -> float:
        """When that which is told to hold it back does so no longer."""
        match told["reason"]:
            case "back-off":
                return self._books.back_offs[download_id]
            case "suspension":
                return self._witness.suspended_until
            case "restart":
                return self._books.resting_until
            case "delay":
                return self._clock.monotonic() + 2 * TOLERANCE_S
        return -inf

    def _see_reason(self, download_id: str, told: Explanation) -> None:
        """Whether what is told holds it back indeed."""
        books, witness, reason = self._books, self._witness, told["reason"]
        ahead = len(books.line) if told["position"] is None else told["position"]
        match reason:
            case "closed":
                holds = books.is_closed
            case "down":
                holds = books.is_down
            case "back-off":
                holds = download_id in books.back_offs
            case "pause":
                holds = witness.paused
            case "suspension":
                holds = self._clock.monotonic() < witness.suspended_until
            case "slot":
                holds = len(books.held) + ahead >= witness.most
            case "restart":
                holds = books.is_resting
            case "delay":
                holds = witness.is_spaced
            case _:
                holds = reason is None and told["phase"] is not None
        assert holds, f"that does not hold {download_id} back: {told}"

    def _depends_on_time(self, download_id: str, place: int | None) -> bool:
        """Whether nothing but time keeps a download: nobody is before it, in none of the ways there are."""
        books, witness = self._books, self._witness
        if books.is_closed or books.is_down or witness.paused or self._source.gate.claims:
            return False
        if len(books.held) >= witness.most:
            return False
        if download_id in books.back_offs:
            return len(books.back_offs) + len(books.line) + len(books.queuing) == 1 and not books.is_resting
        return place == 0 and not books.back_offs
