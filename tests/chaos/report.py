"""What a run amounts to: what was done to the engines, how often, and what they did not keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.chaos.books import Promise

__all__ = ["FAULTS", "PROMISES", "table"]

FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "impl raises an Exception": (
        "impl: error", "impl: no_text", "impl: bad_text", "impl: permanent", "impl: group", "impl: stop_iteration",
        "impl: gives_up", "impl: async_cancelled",
    ),
    "impl runs out of memory, or of stack": ("impl: memory", "impl: recursion"),
    "impl returns nothing, or what is no path": (
        "impl: none", "impl: empty", "impl: number", "impl: path_like", "impl: coroutine", "impl: bad_result",
    ),
    "impl is throttled": ("impl: throttled",),
    "impl crashes its source": (
        "impl: exit", "impl: interrupt", "impl: source_crashed", "impl: generator_exit", "impl: own_base",
        "impl: deadly_result",
    ),
    "impl hangs until it is let go": ("impl: hang",),
    "impl comes back, or crashes, too late": ("impl: late", "impl: late_crash"),
    "impl reads and writes records, states of its own too": ("impl: reads", "impl: writes", "impl: own_states"),
    "impl and its threads write progress, on after its end": ("impl: storm", "impl: linger", "impl: progress"),
    "impl cancels or removes itself, or another": ("impl: cancel_own", "impl: cancel_other", "impl: remove_own"),
    "impl dispatches, sets limits, waits": (
        "impl: follow_up", "impl: limits", "impl: wait_own", "impl: wait_other", "impl: collect",
    ),
    "SystemExit raised from outside, in an impl": ("killed: working",),
    "SystemExit raised from outside, in an idle slot": ("killed: idle",),
    "SystemExit raised from outside, in an idle supervisor": ("killed: supervisor",),
    "SystemExit raised from outside, in an idle store": ("killed: store",),
    "SystemExit raised from outside, anywhere": ("killed: anywhere",),
    "slot's on_start fails": ("on_start failed",),
    "machine gives no thread for a slot": ("no thread for a slot",),
    "cancel": (
        "call: cancel", "call: cancel_old", "call: cancel_unknown", "call: cancel_and_remove", "call: patch_cancel",
        "call: cancel_unless", "aio: cancel", "aio: cancel_old", "aio: cancel_unknown", "aio: cancel_and_remove",
    ),
    "pause, resume, revive": (
        "call: pause", "call: resume", "call: revive", "aio: pause", "aio: resume", "aio: revive",
    ),
    "another limit, delay or policy": ("call: set_concurrency", "call: set_delay", "call: register"),
    "record removed, replaced or cleared": (
        "call: remove", "call: replace", "call: clear", "aio: remove", "aio: clear",
    ),
    "callback is slow, or raises": ("callback raised", "callback was slow"),
    "asyncio task cancelled in a call": ("aio: task cancelled",),
    "garbage collected by hand": ("call: collect",),
    "wall clock set, up to 6 h off": ("call: step_clock",),
    "foreign actors: stop_all, SystemExit, broadcast": (
        "strangers: stop_all", "strangers: exit", "strangers: broadcast",
    ),
    "close in a hurry, with hung impls": ("end: abrupt", "end: loop", "call: close"),
    "close in order, or draining": ("end: patient", "end: drain", "end: drain_in_vain"),
    "close from many threads, an impl, a callback": ("end: many", "end: impl", "end: callback"),
    "engine dropped without a close": ("end: dropped",),
}  # fmt: skip
"""What is done to an engine, and under which counts the books have it."""

PROMISES: Final[Mapping[Promise, tuple[str, str]]] = {
    "limit": ("never more at once than the limit", "starts"),
    "delay": ("never before the delay is over", "starts"),
    "order": ("nothing starts that is cancelled or over", "starts"),
    "lost": ("what was accepted ends once", "downloads"),
    "truth": ("a record that is over is true, for ever", "looks"),
    "trace": ("haulier verify is content", "lines"),
    "raised": ("a call raises only what it says", "calls"),
    "foreign": ("a foreign actor is left alone", "answers"),
    "hang": ("nothing hangs", "rounds"),
    "left": ("no thread, actor, object or memory is left", "rounds"),
}
"""What is held against an engine, and what was looked at for it."""


def table(done: Counter[str], looks: Counter[Promise], broken: Iterable[Promise]) -> Iterator[str]:
    """The lines of the summary."""
    breaches = Counter(broken)
    yield f"{'what was done':58}{'times':>12}"
    for fault, counts in FAULTS.items():
        if times := sum(done[each] for each in counts):
            yield f"{fault:58}{times:>12,}"
    yield ""
    yield f"{'what was promised':58}{'looked at':>12} {'':10}{'broken':>8}"
    for promise, (words, unit) in PROMISES.items():
        yield f"{words:58}{looks[promise]:>12,} {unit:10}{breaches[promise]:>8,}"
