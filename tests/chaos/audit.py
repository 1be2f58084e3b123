"""After a round: what the engine has, what its trace says, and what the books know, held against one another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.chaos.books import Books, Did, Fact
from tests.chaos.calls import CALLERS_ERROR
from tests.chaos.plan import Plan
from tests.chaos.setups import RULES_ERROR

from haulier import Record
from haulier.records import STATE_OF_PHASE, TERMINAL_PHASES, TERMINAL_STATES
from haulier.verify import Violation, verify

__all__ = ["audit_counts", "audit_files", "audit_records", "audit_trace", "complaints"]

ENGINES_OWN = ("worker crash: ", "source down: ", "engine closed", "timed out after ", "stalled: ")
NO_FILE = "the impl returned no file path"


def audit_records(records: Iterable[Record], books: Books, plan: Plan) -> None:
    """Every record is over, and says what happened."""
    over = 0
    for record in records:
        books.saw(record)
        fact = books.facts.get(record.get("id", ""))
        over += record.get("phase") in TERMINAL_PHASES or record.get("state") in TERMINAL_STATES
        if fact is not None and not fact.replaced:
            for each in complaints(record, fact, books.closing or fact.source in books.stuck):
                books.blame("truth", f"{record['id']} at {fact.source} {each}: {record}, and it came to {fact}")
    if over > plan.max_terminal:
        books.blame("truth", f"{over} records that are over are kept, and {plan.max_terminal} may be")


def audit_counts(counts: Mapping[str, Mapping[str, int]], books: Books) -> None:
    """Every dispatch that was accepted has ended once, by the engine's own count for each source."""
    accepted = Counter(fact.source for fact in books.facts.values() if fact.accepted)
    for download_id, fact in books.facts.items():
        if not fact.accepted:
            books.blame("lost", f"{download_id} ran, and its dispatch was refused")
    books.looks["lost"] += accepted.total()
    for source, many in accepted.items():
        ended = sum(counts.get(source, {}).values())
        if ended != many:
            books.blame("lost", f"{source} took {many} downloads, and {ended} have ended")


def complaints(record: Record, fact: Fact, closed: bool) -> Iterator[str]:
    """What is not so in the record of a download, once everything is over. ``closed``: the engine may have ended it."""
    phase = record["phase"]
    last = fact.dids[-1] if fact.dids else Did("never", "")
    if phase not in TERMINAL_PHASES:
        yield "never ended"
        return
    if record["state"] != STATE_OF_PHASE[phase]:
        yield "has another state than its phase"
    if fact.cancelled and phase != "cancelled":
        yield "was cancelled, and does not say so"
    if phase == "cancelled" and not fact.asked and last.what != "stopped":
        yield "was cancelled by nobody"
    if phase == "succeeded" and (last.what != "landed" or record["file_path"] != last.text):
        yield "has another path than its impl returned"
    if phase == "succeeded" and record.get("error") is not None:
        yield "succeeded with an error"
    if phase == "failed":
        yield from _failed(str(record.get("error") or ""), record.get("error_type"), fact.dids, last, closed)


def _failed(error: str, kind: str | None, dids: list[Did], last: Did, closed: bool) -> Iterator[str]:
    own = next((each for each in ENGINES_OWN if error.startswith(each)), None)
    if not error:
        yield "does not say why it failed"
    if own == "engine closed" and not closed:
        yield "failed since the engine was closed, and nobody closed it"
    if last.what == "landed" and kind not in ("EngineClosed", "TimeoutError"):  # its text may be a late caller's
        yield "failed, and its impl returned a path"
    if last.what == "crashed" and own == "worker crash: " and error not in (own + last.text, own):
        yield "does not say of what its source crashed"
    known = {NO_FILE, CALLERS_ERROR, RULES_ERROR, *(did.text for did in dids)}
    if own is None and error not in known and not any(did.what == "odd" for did in dids):
        yield "failed with an error that nobody raised"


def audit_files(books: Books, plan: Plan) -> None:
    """What landed for a download that was cancelled is deleted where the policy says so, and nowhere else."""
    steady = {setup.name: setup for setup in plan.sources if setup.steady}
    for download_id, fact in books.facts.items():
        if fact.source not in steady or fact.replaced or not fact.dids or fact.dids[-1].what != "landed":
            continue
        path = Path(fact.dids[-1].text)
        if not path.is_absolute():
            continue  # it was no path
        discards = steady[fact.source].discard_cancelled
        if fact.end == "succeeded" and not path.exists():
            books.blame("truth", f"{download_id} succeeded, and its file is gone")
        if fact.cancelled:
            books.count("landed after a cancel: " + ("deleted" if discards else "kept"))
            if path.exists() == discards:
                books.blame("truth", f"{download_id} was cancelled, and its file is {'there' if discards else 'gone'}")


def audit_trace(path: Path, books: Books, anywhere: bool) -> None:
    """The trace keeps every promise, and every accepted download is over in it exactly once."""
    with path.open() as lines:
        try:
            verify(lines)
        except (Violation, ValueError) as wrong:
            books.blame("trace", f"haulier verify: {wrong}")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    books.looks["trace"] += len(told)
    if told[-1]["event"] != "closed":
        books.blame("trace", "the trace was not closed last")
    queued, over, starts, ends = (
        Counter(each["id"] for each in told if each["event"] in events)
        for events in ({"queued"}, {"over"}, {"start"}, {"end", "fell", "gave_up"})
    )
    accepted = Counter(download_id for download_id, fact in books.facts.items() if fact.accepted)
    if queued != accepted:
        books.blame("trace", f"queued there, or here, and not in both: {(queued - accepted) + (accepted - queued)}")
    running = starts - ends  # a run that closed its engine itself ends after the trace
    for download_id in accepted:
        if over[download_id] != 1 and download_id not in running:
            books.blame("lost", f"{download_id} is over {over[download_id]} times in the trace")
        if not anywhere and starts[download_id] != books.facts[download_id].runs:
            books.blame("trace", f"{download_id} started {starts[download_id]} times there: {books.facts[download_id]}")
