"""The report at the end of the demo: what happened, and whether the engine kept its promises."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from haulier._cli.demo.hosts import HOSTS, Host, content
from haulier._cli.demo.server import Meter, Site
from haulier._cli.display.tally import Tally
from haulier._cli.display.text import counted
from haulier.records import TERMINAL_PHASES, Phase, Record
from haulier.status import SourceStatus

__all__ = ["Finding", "findings"]


class Finding(NamedTuple):
    """One promise: whether the engine kept it, what it is about, and what was observed."""

    kept: bool
    about: str
    text: str


def findings(
    site: Site, tally: Tally, stats: Mapping[str, SourceStatus], records: list[Record], dest: Path
) -> Iterator[Finding]:
    """Check every promise that the demo can observe, and yield a finding for each."""
    for host in HOSTS:
        yield _finding(host, site, tally, stats[host.name], records)
    peaks = {host.name: site.meters[host.name].peak for host in HOSTS}
    yield Finding(
        all(peaks[host.name] <= host.concurrency for host in HOSTS),
        "no overlap",
        "no host ever had more requests at once than its limit: "
        + ", ".join(f"{peaks[host.name]} of {host.concurrency}" for host in HOSTS)
        + " (counted by the server)",
    )
    yield _accounted(records, tally)
    yield _checksums(records, dest)


def _finding(host: Host, site: Site, tally: Tally, status: SourceStatus, records: list[Record]) -> Finding:
    meter = site.meters[host.name]
    done = status["succeeded"]
    all_done = done == host.files
    if host.pauses:
        return _throttled(host, meter, tally, all_done, site.pause_s, status["delay"])
    if host.breaks:
        retries = tally.retries[host.name]
        text = (
            f"it closed the connection in the middle of a file {_times(meter.broken)}; each of these files was "
            f"retried, and {_all(done, host)} files succeeded"
        )
        return Finding(all_done and retries == meter.broken == len(host.breaks), host.name, text)
    if host.crashes:
        text = (
            f"its plugin crashed {_times(len(host.crashes))}, and the supervisor restarted it "
            f"{_times(status['restarts'])}. The running downloads failed ({status['failed']}), the queued ones "
            f"continued ({done} succeeded), and the other hosts were not affected"
        )
        kept = status["restarts"] == status["failed"] == len(host.crashes) == host.files - done
        return Finding(kept, host.name, text)
    if host.concurrency > 1:
        text = f"{_all(done, host)} files succeeded, {host.concurrency} at a time, as its policy allows"
        return Finding(all_done, host.name, text)
    meanwhile = _ended_meanwhile(host, records)
    text = (
        f"it sent {_all(done, host)} files slowly, one at a time, and delayed no other host: meanwhile {meanwhile} "
        "downloads from other hosts ended"
    )
    return Finding(all_done and meanwhile > 0, host.name, text)


def _ended_meanwhile(host: Host, records: list[Record]) -> int:
    """How many downloads of other hosts ended while a download of ``host`` was running."""
    own = [(record["started_at"], record["finished_at"]) for record in records if record["source"] == host.name]
    others = [record["finished_at"] for record in records if record["source"] != host.name]
    return sum(any(start < end < finish for start, finish in own) for end in others)


def _throttled(host: Host, meter: Meter, tally: Tally, all_done: bool, pause_s: int, delay_s: float) -> Finding:
    rest_s = meter.shortest_rest_s or 0.0
    text = (
        f"it answered 429 and asked for a pause of {pause_s} s {_times(meter.refused)}: all its downloads waited, and "
        f"the refused file came first after the pause. Between two files haulier waited for its delay of "
        f"{delay_s:.2f} s (the shortest wait was {rest_s:.3f} s)"
    )
    kept = all_done and tally.pauses[host.name] == meter.refused == len(host.pauses) and rest_s >= delay_s
    return Finding(kept, host.name, text)


def _accounted(records: list[Record], tally: Tally) -> Finding:
    done = sum(record["phase"] == Phase.SUCCEEDED for record in records)
    failed = sum(record["phase"] == Phase.FAILED for record in records)
    ended = all(record["phase"] in TERMINAL_PHASES for record in records)
    kept = ended and len(records) == tally.total == done + failed and (done, failed) == (tally.done, len(tally.failed))
    return Finding(
        kept,
        "nothing lost",
        f"{counted(tally.total, 'download')}, {done} done, {failed} failed; every download has ended",
    )


def _checksums(records: list[Record], dest: Path) -> Finding:
    succeeded = [record for record in records if record["phase"] == Phase.SUCCEEDED]
    hosts = {host.name: host for host in HOSTS}
    right = sum(_digest(record, hosts[record["source"]]) for record in succeeded)
    there = sorted(path.name for path in dest.iterdir())
    kept = right == len(succeeded) and there == sorted(Path(record["file_path"]).name for record in succeeded)
    return Finding(
        kept, "real files", f"{right} of {len(succeeded)} files have the right checksum, and no partial file is left"
    )


def _digest(record: Record, host: Host) -> bool:
    with open(record["file_path"], "rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    return found == hashlib.sha256(content(host, record["name"])).digest()


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _all(done: int, host: Host) -> str:
    return f"all {done}" if done == host.files else f"{done} of {host.files}"
