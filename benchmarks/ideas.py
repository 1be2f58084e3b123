"""Measure the effect of each idea of the design: run a workload with the idea, and with the idea removed.

``python benchmarks/ideas.py`` removes each idea by replacing the function that implements it, in a process of its own.
It runs the workload that shows the idea best, in turn with unchanged haulier. A ratio of 2 means that the workload
takes twice as long without the idea. Promises may be broken without it, so nothing is verified here.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import hire
from benchmarks.figures import RESULTS, Sample, describe_machine, dumps, machine, markdown, median, spread
from benchmarks.fresh import command, measure_fresh
from benchmarks.harness import Workload, positive
from benchmarks.w1 import W1
from benchmarks.w2 import W2
from benchmarks.w3 import W3
from benchmarks.w4 import W4
from benchmarks.w7 import W7

__all__ = ["IDEAS", "Idea"]


class Idea(NamedTuple):
    """``undo`` removes the idea from the process. ``key``: the value of the sample to compare; less is better."""

    name: str
    what: str
    undo: Callable[[], None]
    workload: Workload
    key: str
    row: str = "haulier"


# ---- how each is undone ----------------------------------------------------------------------------------------------


def _replace(owner: Any, name: str, by: Any) -> None:
    """Replace an attribute. Raises ``AttributeError`` if it does not exist: setting it would undo nothing."""
    getattr(owner, name)
    setattr(owner, name, by)


def _ids_one_by_one() -> None:
    from uuid import uuid4

    from haulier._engine import worker

    _replace(worker, "new_id", lambda: str(uuid4()))


def _two_messages() -> None:
    from haulier._engine.core.attempts import Attempts

    _replace(Attempts, "settle_and_take", lambda *_: None)  # None: the slot settles, then takes, in two messages


def _wake_the_store() -> None:
    from haulier._engine.shells import store

    _replace(store.Store, "_listen", lambda self: setattr(self, "_patience", 1))


def _records_at_once() -> None:
    from haulier._engine.core.ledger import Ledger
    from haulier._engine.ticket import ID, SOURCE

    added = Ledger._added

    def add(self: Any, ticket: Any) -> None:
        added(self, ticket)
        self.table.entry(ticket[SOURCE], ticket[ID])

    _replace(Ledger, "_added", add)


def _impls_in_tickets() -> None:
    from haulier._engine import worker

    _replace(worker, "_place_of", lambda mailbox, impl: impl)


def _back_to_the_inbox() -> None:
    from haulier._engine.shells.outlet import Outlet

    def report(self: Any, transfer: Any, outcome: Any, slot: Any) -> None:
        with self._mailbox.lock:
            now, on = _now()
            self._mailbox.last_end = now
            slot.left = not self._mailbox.source.attempts.settle(transfer, outcome, now, on)
            slot.in_hand = None
        self._mailbox.bell.ring()

    _replace(Outlet, "report", report)


def _now() -> tuple[float, float]:
    from time import monotonic, time

    return monotonic(), time()


def _never_give_way() -> None:
    from haulier._engine.shells import slot

    _replace(slot, "BREATH_S", 1e9)


def _no_hand_off() -> None:
    from haulier._engine.shells.intake import Intake

    _replace(Intake, "is_idle", property(lambda self: False))


def _always_hand_off() -> None:
    from haulier._engine import worker
    from haulier._engine.shells.intake import Intake

    _replace(worker, "BETWEEN_S", -1.0)

    put = Intake.put

    def always(self: Any, ticket: Any) -> None:
        (put.__get__(self) if ticket[0] in self.handoffs else self.put_and_wait)(ticket)

    _replace(Intake, "put", always)


def _blunt_timers() -> None:
    from haulier._engine.shells import actor

    _replace(actor, "sharpen_timers", lambda: None)


def _a_commit_for_each() -> None:
    from haulier._engine.shells.durable import DurableStore

    drain = DurableStore._drain_some
    _replace(DurableStore, "_drain_some", lambda self, count: drain(self, 1))


def _whole_records() -> None:
    from haulier._engine.core.entry import view
    from haulier._engine.shells import rows

    _replace(rows, "_success_text", lambda stored: rows._text(view(stored)))


IDEAS: Final = (
    Idea("ids", "ids from one `os.urandom` for many", _ids_one_by_one, W1, "wall_us"),
    Idea("turn", "an end and the next start are one message", _two_messages, W1, "wall_us"),
    Idea("patience", "the store is not woken for what nobody waits for", _wake_the_store, W1, "wall_us"),
    Idea("news", "a record is made when somebody looks at it", _records_at_once, W1, "wall_us"),
    Idea("loop", "a slot that finds work goes on without its inbox", _back_to_the_inbox, W1, "wall_us"),
    Idea("common", "impls are on their source, not on each ticket", _impls_in_tickets, W2, "bytes_per_queued"),
    Idea("breath", "a slot gives way after 500 µs", _never_give_way, W4, "start_us@99"),
    Idea("hand-off", "a dispatch to an idle source hands over", _no_hand_off, W4, "start_us@50"),
    Idea("idle only", "it does so only where the source was idle", _always_hand_off, W1, "wall_us"),
    Idea("timers", "sharp timers", _blunt_timers, W3, "late_us@50"),
    Idea("group", "one commit for what came together", _a_commit_for_each, W7, "wall_us", "durable:many"),
    Idea("landed", "what landed at once is written short", _whole_records, W7, "cpu_us", "durable:many"),
)


# ---- the command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.measure:
        _measure_here(options.measure, options.without, json.loads(options.sizes))
        return 0
    runs = 1 if options.smoke else options.runs

    def measure() -> int:
        here = machine()
        samples: dict[str, dict[bool, list[Sample]]] = {idea.name: {True: [], False: []} for idea in IDEAS}
        for idea, has_it, number in _in_turn(runs):
            samples[idea.name][has_it].append(_measure(idea, has_it, options.smoke))
            print(f"{idea.name}: run {number} of {runs}: {'with' if has_it else 'without'}", file=sys.stderr)
        if not options.smoke:
            print(_write(samples, here, runs))
        return 0

    return command(measure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="what each idea of the design brings")
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="with each idea, and without; default: 5")
    parser.add_argument("--smoke", action="store_true", help="small, once, nothing timed and nothing written")
    for hidden in ("--measure", "--without", "--sizes"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser


def _in_turn(runs: int) -> Iterator[tuple[Idea, bool, int]]:
    for number in range(runs):
        for idea in IDEAS:
            for has_it in (True, False) if number % 2 else (False, True):
                yield idea, has_it, number + 1


def _measure(idea: Idea, has_it: bool, smoke: bool) -> Sample:
    workload = idea.workload
    sizes = workload.smoke_sizes if smoke else {**workload.sizes, **workload.quick_sizes}
    without = "" if has_it else idea.name
    return measure_fresh(
        Path(__file__), ["--measure", idea.name, "--without", without, "--sizes", json.dumps(dict(sizes))]
    )


def _measure_here(name: str, without: str, sizes: Mapping[str, int]) -> None:
    idea = next(idea for idea in IDEAS if idea.name == name)
    if without:
        idea.undo()
    contender, _, mode = idea.row.partition(":")
    hired = hire(contender)
    sample = (idea.workload.modes[mode] if mode else idea.workload.measure)(hired, sizes)
    hired.close()
    print(json.dumps(sample))


def _write(samples: Mapping[str, Mapping[bool, Sequence[Sample]]], here: Mapping[str, Any], runs: int) -> str:
    rows = [["idea", "shown by", "with", "without", "ratio"]]
    filed: dict[str, Any] = {}
    for idea in IDEAS:
        with_it, without = (median(samples[idea.name][has_it])[idea.key] for has_it in (True, False))
        what = f"{idea.workload.name.upper()}, {idea.key.replace('@', ' p').replace('_', ' ')}"
        rows.append([idea.what, what, f"{with_it:,.1f}", f"{without:,.1f}", f"{without / with_it:.2f}"])
        filed[idea.name] = {
            "what": idea.what, "workload": idea.workload.name, "key": idea.key,
            "with": with_it, "without": without,
            "spread": [spread(samples[idea.name][has_it])[idea.key] for has_it in (True, False)],
        }  # fmt: skip
    said = shlex.join(["python", "benchmarks/ideas.py", *sys.argv[1:]])
    page = "\n".join(
        [
            "# What each idea brings",
            "",
            f"Medians of {runs} runs each, with it and without in turn, all in fresh processes; less is better.",
            "As large as with `--quick`: W4 with 200 probes, W7 with 2,000 downloads, the others whole.",
            f"{describe_machine(here)}; `{said}`.",
            "",
            *markdown(rows, left=(0, 1)),
        ]
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "ideas.md").write_text(page + "\n", encoding="utf-8")
    (RESULTS / "ideas.json").write_text(dumps({"command": said, "machine": dict(here), "ideas": filed}), "utf-8")
    return page


if __name__ == "__main__":
    sys.exit(main())
