"""Limits by host for the requests of fetchers, so that a redirect leads around no limit.

An engine limits the downloads of a source. A redirect leads a download to another host, of which its source knows
nothing. ``HostLimits`` therefore limits requests. Each request, from its start to the end of its answer, is under the
limits of the host that it goes to.

A request waits for one host, and its download holds no other host meanwhile. So hosts that redirect to each other
cannot block each other. A redirected download still holds its slot at its source. It waits for at most ``patience``
seconds. Then it raises ``HostBusy``, and the next download of its source starts.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Lock
from time import monotonic

from haulier._engine.core.gate import Gate
from haulier.errors import Throttled
from haulier.fetchers.faults import NotYet
from haulier.fetchers.urls import Target
from haulier.policies import SourcePolicy, check_seconds
from haulier.transfer import Transfer

__all__ = ["HostBusy", "HostLimits", "Route", "Turn"]

_SLICE_S = 0.25
"""Seconds between two looks at the transfer while a request waits: how long a cancel can take."""

_MOST_IDLE = 1000
"""When so many gates exist, those that are not used and hold no delay are forgotten."""


class HostBusy(NotYet):
    """A redirect led to a host that is at its limit, or that asks for a pause.

    Raised by fetchers with ``HostLimits``.
    """

    def __init__(self, retry_in_s: float, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(retry_in_s, message)
        self.is_refusal = is_refusal
        """Whether the host itself refused this download and asked for a pause."""


class HostLimits:
    """The limits of hosts, shared by all fetchers that get this object as ``host_limits``.

    - ``policy_of``: a function that returns the policy of a host, or None for no limits. For a dict: ``policies.get``.
      The name of a host is like ``example.org``, or ``example.org:8080`` if the port is not the default one. What
      counts of a policy: ``concurrency``, ``delay``, ``delay_from``, ``delay_floor``, the lower factor of ``jitter``.
    - ``patience``: how many seconds a redirected download waits for a host before it raises ``HostBusy``.

    The first request of a download, and each redirect within that host, are under the policy of the download's source.
    A policy is looked up at the first request to its host, and again after a long time without requests.

    Raises ``TypeError`` or ``ValueError``, naming the argument.
    """

    def __init__(self, policy_of: Callable[[str], SourcePolicy | None], *, patience: float = 30.0) -> None:
        if not callable(policy_of):
            raise TypeError(f"policy_of must be a function of a host's name, not {policy_of!r}")
        self.patience = check_seconds("patience", patience)
        self._policy_of = policy_of
        self._lock = Lock()
        self._gates: dict[str, HostGate] = {}

    def take(self, name: str) -> HostGate:
        """The gate of the host or the source ``name``. Call ``give_back`` when it is no longer used."""
        with self._lock:
            gate = self._gates.get(name)
            if gate is None:
                if len(self._gates) >= _MOST_IDLE:
                    self._gates = {key: each for key, each in self._gates.items() if each.users or not each.is_idle}
                gate = self._gates[name] = HostGate(name, self._policy_of(name))
            gate.users += 1
            return gate

    def give_back(self, gate: HostGate) -> None:
        """Count the end of a use of ``gate``. Many unused gates are forgotten, as redirects may lead to any number."""
        with self._lock:
            gate.users -= 1


class HostGate:
    """Lets the requests to one host through, first come, first served. Without a policy it knows only suspensions."""

    def __init__(self, name: str, policy: SourcePolicy | None) -> None:
        self.name = name
        self.users = 0
        """How many requests use it or wait for it."""
        self._is_limited = policy is not None
        policy = policy or SourcePolicy()
        if policy.jitter is not None:  # the engine draws a factor for each download; a second draw would add to it
            policy = replace(policy, jitter=(policy.jitter[0], policy.jitter[0]))
        self._concurrency = policy.concurrency
        self._gate = Gate(policy, random.uniform)
        self._changed = Condition()
        self._waiting: deque[object] = deque()
        self._inside = 0

    def enter(self, transfer: Transfer, at_most_s: float | None) -> float | None:
        """Wait until a request may start, and count its start. Returns None.

        If the wait would take more than ``at_most_s`` seconds, returns the seconds until the next try. ``None`` waits
        for requests without a limit, but not for a suspension. Raises ``DownloadCancelled`` after a cancel.
        """
        me, until = object(), None if at_most_s is None else monotonic() + at_most_s
        with self._changed:
            self._waiting.append(me)
            try:
                while True:
                    transfer.raise_if_cancelled()
                    now = monotonic()
                    opens_at = self._gate.opens_at()
                    if self._waiting[0] is me and now >= opens_at and self._has_room:
                        self._inside += 1
                        self._gate.started(now)
                        return None
                    if until is not None and max(now, opens_at) > until:
                        return opens_at - now
                    self._changed.wait(min(_SLICE_S, opens_at - now) if opens_at > now else _SLICE_S)
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()

    def suspended_s(self) -> float:
        """Seconds until the suspension ends; 0 or less if there is none."""
        with self._changed:
            return self._gate.suspended_until - monotonic()

    def suspend(self, seconds: float) -> None:
        """Let no request start for so many seconds; then one runs alone before the host opens fully."""
        with self._changed:
            self._gate.suspend(monotonic() + seconds)

    def leave(self, started_at: float) -> None:
        """Count the end of a request that started at ``started_at`` (monotonic seconds)."""
        with self._changed:
            self._inside -= 1
            self._gate.ended(monotonic())
            if self._gate.probing and started_at >= self._gate.suspended_until:
                self._gate.end_probation()
            self._changed.notify_all()

    @property
    def is_idle(self) -> bool:
        """Whether a new gate would behave like this one: no delay or suspension is left of earlier requests."""
        with self._changed:
            return not self._gate.probing and monotonic() >= self._gate.opens_at()

    @property
    def _has_room(self) -> bool:
        return self._inside < self._gate.limit(self._concurrency) or not (self._is_limited or self._gate.probing)


class Turn:
    """The permission for one request. Call ``leave`` when its answer is read."""

    def __init__(self, limits: HostLimits | None, gate: HostGate | None, *, is_own: bool) -> None:
        self._limits = limits
        self._gate = gate
        self._is_own = is_own
        self._started_at = monotonic()

    def leave(self) -> None:
        """Let the next request go to the host. The second call does nothing."""
        gate, self._gate = self._gate, None
        if gate is not None and self._limits is not None:
            gate.leave(self._started_at)
            self._limits.give_back(gate)

    def paused(self, throttled: Throttled) -> Throttled | HostBusy:
        """Suspend the host, which asked for a pause. Returns what to raise: its own source is suspended, no other."""
        if self._gate is None:
            return throttled
        self._gate.suspend(throttled.retry_after)
        if self._is_own:
            return throttled
        return HostBusy(throttled.retry_after, f"{self._gate.name}: {throttled}", is_refusal=True)


class Route:
    """The way of one download from host to host. Without ``limits`` every request may start at once."""

    def __init__(self, limits: HostLimits | None, first: Target, transfer: Transfer) -> None:
        self._limits = limits
        self._first = first.place
        self._transfer = transfer

    def turn(self, target: Target) -> Turn:
        """Wait until a request to ``target`` may start.

        Raises ``HostBusy`` if a redirect led there and the wait would be too long, ``Throttled`` if the download's own
        host is suspended for longer, ``DownloadCancelled`` after a cancel.
        """
        limits = self._limits
        if limits is None:
            return Turn(None, None, is_own=True)
        is_own = target.place == self._first
        gate = limits.take((is_own and self._transfer.source) or target.place)
        try:
            pause_s = gate.suspended_s()
            if is_own and pause_s > limits.patience:
                raise Throttled(pause_s, f"{gate.name} is suspended for another {pause_s:.0f} s")
            retry_in_s = gate.enter(self._transfer, None if is_own else limits.patience)
            if retry_in_s is not None:
                raise HostBusy(retry_in_s, f"a redirect leads to {gate.name}, which is at its limit")
        except BaseException:
            limits.give_back(gate)
            raise
        return Turn(limits, gate, is_own=is_own)
