"""Each promise, broken by hand in a trace, is found with both of its lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from haulier.trace import Trace
from haulier.verify import Report, Violation, verify


def trace(*events: tuple[Any, ...]) -> list[str]:
    """``(at, event, id, more)`` as the lines of one source's trace. Without ``rules`` the source has hardly a limit."""
    lines = []
    if not any(event == "rules" for _, event, *_ in events):
        runs = sorted({"one", *(each[-1].get("run", "one") for each in events if isinstance(each[-1], dict))})
        events = (*((0.0, "rules", {**rules(0.0, 99)[2], "run": run}) for run in runs), *events)
    for at, event, *rest in events:
        values: dict[str, Any] = {"run": "one", "event": event, "at": at, "source": "tidal"}
        if event in ("opened", "closed"):
            del values["source"]
        if rest and isinstance(rest[0], str):
            values["id"] = rest.pop(0)
        if event == "start":
            values |= {"attempt": 1, "taken": at, "stamped": at}
        if event == "queued":
            values["began"] = at - 0.25
        lines.append(json.dumps(values | (rest[0] if rest else {})) + "\n")
    return lines


def rules(
    at: float, limit: int = 1, delay: float = 0.0, since: str = "end", *, paused: bool = False
) -> tuple[Any, ...]:
    return (at, "rules", {"limit": limit, "delay": delay, "from": since, "paused": paused})


def run(at: float, download_id: str, until: float, ends: str = "end") -> list[tuple[Any, ...]]:
    stamped = {"stamped": until}
    return [(at, "start", download_id), (until, "returned", download_id), (until, ends, download_id, stamped)]


GOOD = [
    rules(0.0, delay=2.0),
    (1.0, "queued", "a"),
    (2.0, "queued", "b"),
    *run(3.0, "a", 4.0),
    (4.1, "over", "a"),
    *run(6.0, "b", 7.0),
    (7.1, "over", "b"),
    (8.0, "closed"),
]


def test_a_trace_that_is_well_is_counted() -> None:
    assert verify(trace(*GOOD)) == Report(runs=1, sources=1, downloads=2, attempts=2, open=0)


def test_what_is_kept_for_the_next_engine_counts_once() -> None:
    events = [
        (1.0, "queued", "a"),
        (2.0, "queued", "b"),
        (2.5, "queued", "c"),
        *run(3.0, "a", 4.0),
        *((5.0, "kept", each) for each in "abc"),
        (6.0, "closed"),
        # The one that was tried before has its place, wherever it is among those that wait for their first turn.
        *((0.1, "found", each, {"run": "two", "attempts": attempts}) for each, attempts in (("b", 0), ("a", 1))),
        *((at, event, each, {"run": "two", **more}) for at, event, each, more in _then()),
    ]
    assert verify(trace(*events)) == Report(runs=2, sources=2, downloads=3, attempts=3, open=1)


def _then() -> Iterable[tuple[float, str, str, dict[str, float]]]:
    for at, each in ((1.0, "a"), (2.0, "b")):
        yield from [(at, "start", each, {}), (at + 0.1, "returned", each, {}), (at + 0.1, "end", each, {"stamped": at})]
        yield (at + 0.2, "over", each, {})


def test_a_trace_that_was_cut_off_is_well_and_says_what_is_open() -> None:
    lines = trace(*GOOD[:-2])
    assert verify([*lines, '{"run": "one", "eve']) == Report(runs=1, sources=1, downloads=2, attempts=2, open=1)


BROKEN: list[tuple[str, str, Iterable[tuple[Any, ...]]]] = [
    ("two at once", "2 run at once, but the limit is 1", [rules(0.0), (3.0, "start", "a"), (4.0, "start", "b")]),
    ("over the limit", "3 run at once, but the limit is 2", [rules(0.0, 2), *((3.0, "start", each) for each in "abc")]),
    ("twice at once", "a runs twice at once", [rules(0.0, 2), (3.0, "start", "a"), (4.0, "start", "a")]),
    ("too early", "1.500000 s after the one before", [rules(0.0, delay=2.0), *run(3.0, "a", 4.0), (5.5, "start", "b")]),
    (
        "two starts too close",
        "1.500000 s after the one before",
        [rules(0.0, 2, delay=2.0), (3.0, "start", "a"), (4.5, "start", "b")],
    ),
    (
        "start to start",
        "1.000000 s after the one before",
        [rules(0.0, delay=2.0, since="start"), *run(3.0, "a", 3.5), (4.0, "start", "b")],
    ),
    ("after a crash", "1.000000 s after", [rules(0.0, delay=2.0), *run(3.0, "a", 4.0, "fell"), (5.0, "start", "b")]),
    ("a longer delay since the decision", "0.500000 s after the one before", [
        rules(0.0, 2, delay=2.0), (3.0, "start", "a"), rules(3.2, 2, delay=3.0),
        (3.5, "start", "b", {"taken": 3.1, "stamped": 3.5}),
    ]),
    ("given up on", "1.000000 s after", [
        rules(0.0, delay=2.0), (3.0, "start", "a"), (4.0, "gave_up", "a", {"stamped": 4.0}), (5.0, "start", "b"),
    ]),
    ("while paused", "while the source is paused", [rules(0.0, paused=True), (3.0, "start", "a")]),
    ("withdrawn", "a was withdrawn or cancelled, but starts", [(1.0, "withdrawn", "a"), (3.0, "start", "a")]),
    ("cancelled", "a was withdrawn or cancelled, but starts", [
        *run(1.0, "a", 2.0), (2.5, "cancelled", "a"), (3.0, "start", "a"),
    ]),
    ("given up on, and starts", "a was given up on, but starts", [
        (1.0, "start", "a"), (2.0, "gave_up", "a", {"stamped": 2.0}), (3.0, "start", "a"),
    ]),
    ("over, and starts", "a has ended, but starts", [(1.0, "over", "a"), (3.0, "start", "a")]),
    ("removed, and starts", "a was removed, but starts", [
        (1.0, "queued", "a"), (2.0, "removed", "a"), (3.0, "start", "a"),
    ]),
    ("over twice", "a ended twice", [(1.0, "over", "a"), (3.0, "over", "a")]),
    ("queued twice", "a is queued twice", [(1.0, "queued", "a"), (3.0, "queued", "a")]),
    ("never over", "a has not ended, but the engine is closed", [(1.0, "queued", "a"), (3.0, "closed")]),
    ("out of turn", "b started before a, which came first", [
        (1.0, "queued", "a"), (2.0, "queued", "b"), *run(3.0, "b", 4.0), (5.0, "start", "a"),
    ]),
    ("out of turn, and withdrawn", "b started before a, which came first", [
        (1.0, "queued", "a"), (2.0, "queued", "b"), *run(3.0, "b", 4.0), (5.0, "withdrawn", "a"),
    ]),
    ("suspended", "before the suspension ends", [
        *run(1.0, "a", 2.0), (2.0, "suspended", "a", {"until": 9.0}), (5.0, "start", "a"),
    ]),
    ("not alone", "one must run alone", [
        rules(0.0, 3), *run(1.0, "a", 2.0), (2.0, "suspended", "a", {"until": 9.0}),
        (9.0, "start", "a"), (9.1, "start", "b"),
    ]),
    ("a probe that died shows nothing", "one must run alone", [
        rules(0.0, 3), *run(1.0, "a", 2.0), (2.0, "suspended", "a", {"until": 9.0}), *run(9.0, "b", 9.5, "fell"),
        (9.6, "start", "c"), (9.7, "start", "d"),
    ]),
    ("over with the engine before", "a has ended, but starts", [
        (3.0, "over", "a"), (1.0, "start", "a", {"run": "two"}),
    ]),
    ("over again", "a ended twice", [(3.0, "over", "a"), (1.0, "over", "a", {"run": "two"})]),
    ("found out of turn", "b started before a, which came first", [
        (1.0, "found", "a", {"attempts": 0}), (2.0, "found", "b", {"attempts": 0}), *run(3.0, "b", 4.0),
        (5.0, "start", "a"),
    ]),
    ("an unknown event", "unknown event 'frobnicated'", [rules(0.0), (1.0, "queued", "a"), (2.0, "frobnicated", "a")]),
    ("an unknown event of the engine", "unknown event 'paused'", [(1.0, "paused", {"source": None})]),
    ("no rules", "a start before the rules of the source are known", [
        rules(0.0), *run(1.0, "a", 2.0), (3.0, "start", "b", {"source": "qobuz"}),
    ]),
    ("rules that come too late", "a start before the rules of the source are known", [rules(2.0), (1.0, "start", "a")]),
    ("rules of another engine", "a start before the rules of the source are known", [
        rules(0.0), (1.0, "start", "a", {"run": "two"}),
    ]),
    ("success without a start", "a succeeded, but has not started", [
        (1.0, "queued", "a"), (2.0, "over", "a", {"phase": "succeeded"}),
    ]),
    ("success of what started with the engine before", "a succeeded, but has not started", [
        *run(1.0, "a", 2.0), (2.0, "kept", "a"), (0.1, "found", "a", {"attempts": 1, "run": "two"}),
        (1.0, "over", "a", {"phase": "succeeded", "run": "two"}),
    ]),
    ("too early by little", "0.200000 s after the one before", [
        rules(0.0, delay=0.3), *run(1.0, "a", 3.0), (3.2, "start", "b"),
    ]),
    ("found, and never over", "a has not ended, but the engine is closed", [
        (1.0, "found", "a", {"attempts": 0}), (3.0, "closed"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "words", "events"), BROKEN, ids=[what for what, *_ in BROKEN])
def test_what_was_broken_is_named(what: str, words: str, events: Iterable[tuple[Any, ...]]) -> None:
    with pytest.raises(Violation) as caught:
        verify(trace(*events))
    assert words in caught.value.what
    assert str(caught.value).count("line ") == (1 if caught.value.before is None else 2)


@pytest.mark.parametrize(
    "events",
    [
        # The limit was lowered after the second start was decided, and before it was values of.
        [rules(0.0, 2), (1.0, "start", "a"), rules(2.0, 1), (2.1, "start", "b", {"taken": 1.9})],
        # The same, the other way round, and values of in the wrong order.
        [rules(0.0, 1), rules(2.0, 2), (3.0, "start", "b", {"taken": 2.1}), (3.1, "start", "a", {"taken": 1.9})],
        # The first one's start is values of late.
        [
            rules(0.0, 2), (1.0, "queued", "a"), (2.0, "queued", "b"),
            (3.0, "start", "b"), (3.1, "start", "a", {"taken": 2.9}),
        ],
        # A hung one no longer counts.
        [
            rules(0.0), (1.0, "start", "a"), (2.0, "gave_up", "a", {"stamped": 2.0}), *run(3.0, "b", 4.0),
            (5.0, "returned", "a"),
        ],
        # Given up on before its slot came to tell of its start: it counts no longer than it did.
        [
            rules(0.0), (2.0, "gave_up", "a", {"stamped": 2.0}), (2.1, "start", "b"),
            (2.2, "start", "a", {"taken": 1.0, "stamped": 1.0}), (2.3, "returned", "a"), (2.4, "returned", "b"),
        ],
        # The same, while the next one is the probe after a suspension.
        [
            rules(0.0), *run(0.1, "c", 0.2), (0.3, "suspended", "c", {"until": 0.5}),
            (2.0, "gave_up", "a", {"stamped": 2.0}), (2.1, "start", "b"),
            (2.2, "start", "a", {"taken": 1.0, "stamped": 1.0}), (2.3, "returned", "b"),
        ],
        # The start of a could not be written: that of b, which came later, could.
        [
            rules(0.0, 2), (1.0, "queued", "a"), (2.0, "queued", "b"),
            (4.0, "taken_back", "a"), (5.0, "start", "b"), (6.0, "start", "a"),
        ],
        [
            rules(0.0, 2), (1.0, "queued", "a"), (2.0, "queued", "b"),
            (4.0, "start", "b"), (5.0, "taken_back", "a"), (6.0, "start", "a"),
        ],
        # The delay was taken back between the decision for a and its call.
        [
            rules(0.0, 2, delay=2.0, since="start"), rules(3.5, 2), (3.6, "start", "b"),
            (3.7, "start", "a", {"taken": 3.0, "stamped": 3.7}),
        ],
        # Nobody can tell which of two dispatches at once came first.
        [
            (1.0, "queued", "a", {"began": 0.5}), (1.1, "queued", "b", {"began": 0.9}), *run(3.0, "b", 4.0),
            (5.0, "start", "a"),
        ],
        # A pause of no length: the slot that tells of it has taken the probe already.
        [
            rules(0.0, 2), *run(1.0, "a", 2.0), (2.1, "suspended", "a", {"until": 2.0}),
            (2.2, "start", "a", {"taken": 2.0}), (2.3, "returned", "a"), (2.4, "end", "a", {"stamped": 2.4}),
            (3.0, "start", "b"), (3.1, "start", "c"),
        ],
        # Decided before the pause and called after it: it shows as well as a probe that the pause is over.
        [
            rules(0.0, 3), (1.0, "start", "a"), (2.0, "returned", "a"), (2.0, "end", "a", {"stamped": 2.0}),
            (2.0, "suspended", "a", {"until": 2.5}), (3.0, "start", "b", {"taken": 1.9, "stamped": 2.6}),
            (3.1, "returned", "b"), (3.1, "end", "b", {"stamped": 3.1}), (3.2, "start", "c"), (3.3, "start", "d"),
        ],
        # A hung one that crashes in the end is no end that anybody waits for.
        [
            rules(0.0, delay=2.0), (1.0, "start", "a"), (2.0, "gave_up", "a", {"stamped": 2.0}),
            (3.9, "returned", "a"), (3.9, "fell", "a"), (4.1, "start", "b"),
        ],
        # Its record was taken out while it waited, and what should have values of its end was broken off.
        [(1.0, "queued", "a"), (2.0, "removed", "a"), (3.0, "closed")],
        # 3.3 - 3.0 is less than 0.3.
        [rules(0.0, delay=0.3), *run(1.0, "a", 3.0), (3.0 + 0.3, "start", "b")],
        [rules(0.0, 2, delay=0.3, since="start"), (7.0, "start", "a"), (7.0 + 0.3, "start", "b")],
        # A download may fail, or be cancelled, without a start.
        [(1.0, "queued", "a"), (2.0, "over", "a", {"phase": "failed"}), (3.0, "closed")],
        [(1.0, "queued", "a"), (1.5, "withdrawn", "a"), (2.0, "over", "a", {"phase": "cancelled"}), (3.0, "closed")],
        [(1.0, "queued", "a"), *run(2.0, "a", 3.0), (4.0, "over", "a", {"phase": "succeeded"}), (5.0, "closed")],
        # It was on its way when the pause was asked for.
        [
            rules(0.0, 2), (1.0, "start", "a"), (2.0, "suspended", "c", {"until": 9.0}),
            (2.1, "start", "b", {"taken": 1.9}),
        ],
    ],
)  # fmt: skip
def test_what_only_looks_broken_is_well(events: Iterable[tuple[Any, ...]]) -> None:
    verify(trace(*events))


@pytest.mark.parametrize("text", ["hello\n", "[]\n", '{"run": "x"}\n', "1\n"])
def test_what_is_no_trace_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a trace"):
        verify([text])
    with pytest.raises(ValueError, match="line 9"):
        verify([*trace(*GOOD)[:8], text, *trace(*GOOD)])


@pytest.mark.parametrize("lacks", ["source", "id", "taken", "stamped"])
def test_a_line_that_lacks_a_value_is_no_line_of_a_trace(lacks: str) -> None:
    lines = [json.loads(line) for line in trace(rules(0.0), (1.0, "start", "a"))]
    del lines[-1][lacks]
    with pytest.raises(ValueError, match="line 2 is not a line of a trace"):
        verify(map(json.dumps, lines))


@pytest.mark.parametrize("length", [0, 1, 9, 20, 60])
def test_a_line_in_the_middle_of_which_a_process_was_killed(tmp_path: Path, length: int) -> None:
    """Linux ends a write at a page's border then. The next engine begins a line of its own."""
    path = tmp_path / "trace"
    path.write_text("".join(trace((0.0, "opened"), *run(1.0, "a", 2.0))) + trace((3.0, "over", "a"))[-1][:length])
    Trace(path).close()
    assert path.read_bytes().count(b"opened") == 2
    with path.open() as lines:
        assert verify(lines).runs == 2


def test_a_line_that_is_cut_off_while_its_engine_goes_on_is_none() -> None:
    lines = trace((0.0, "opened"), (1.0, "queued", "a"), *run(2.0, "a", 3.0))
    with pytest.raises(ValueError, match="line 2 is not a line of a trace"):
        verify([lines[0], lines[1][:30] + "\n", *lines[2:]])


def test_two_engines_in_one_file_know_nothing_of_each_other() -> None:
    other = [line.replace('"one"', '"two"').replace('"id": "', '"id": "another-') for line in trace(*GOOD)]
    mixed = [line for pair in zip(trace(*GOOD), other, strict=True) for line in pair]
    assert verify(mixed) == Report(runs=2, sources=2, downloads=4, attempts=4, open=0)
