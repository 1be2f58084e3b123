"""A busy program on a durable store that is killed again and again, and at last runs its queues dry.

``killed.py FOLDER STORE NAME SEED KILLS``: forks children that work until they are killed, each on what the one before
it left. In ``FOLDER/log`` they write what they know, one line a ``write`` to one file, so that nothing is lost with
them and the lines are in the order in which things happened; in ``FOLDER/trace`` their engines do. The last one writes
``FOLDER/records``. Nothing is judged here: see ``test_killed.py``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from select import select
from time import monotonic, sleep, time
from typing import Any

import tenacity

import haulier
from haulier import Changed, DownloadEngine, Retention, RetryPolicy, SourcePolicy, Throttled, Transfer, Wanted

HANG_S = 60.0
LIFE_S = 0.2
"""A child is killed within so many seconds after it has opened its store; every fifth one before that, maybe."""

POLICIES = {
    "plain": SourcePolicy(),
    "wide": SourcePolicy(concurrency=3),
    "polite": SourcePolicy(delay=0.03),
    "starts": SourcePolicy(delay=0.02, delay_from="start", concurrency=2),
    "flaky": SourcePolicy(
        concurrency=2, retry=RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.02))
    ),
    "throttled": SourcePolicy(delay=0.005),
    "resumes": SourcePolicy(concurrency=2, resume_interrupted=True, delay=0.002),
    "named": SourcePolicy(),
    "once": SourcePolicy(concurrency=2, at_most_once=True, delay=0.002),
    "twice": SourcePolicy(
        at_most_once=True, retry=RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.005))
    ),
}

LOG = -1
OPENED = -1
"""A pipe on which a child says that it has opened its store."""


def log(*words: object) -> None:
    os.write(LOG, (" ".join(map(str, words)) + "\n").encode())


# ---- impls -----------------------------------------------------------------------------------------------------------


def fetch(download_id: str, target_id: Any, display_name: str, transfer: Transfer) -> str | None:
    """A target is ``what is to come of it, seconds that it takes``."""
    what, seconds = target_id
    source, attempt = transfer.source, transfer.attempt
    log("start", download_id, source, attempt, os.getpid(), time())
    came = "died"
    try:
        ENGINE[0].update_record(source, download_id, {"transferred": 5, "state": "InProgress, Downloading"})
        threading.Event().wait(seconds)
        came = come_of(what, transfer)
    finally:
        log("end", download_id, source, attempt, os.getpid(), time(), came)
    return f"/{download_id}"


def come_of(what: str, transfer: Transfer) -> str:
    if what == "throttled" and random.random() < 0.5:
        raise Throttled(0.04)
    if what == "never" or (what == "third" and transfer.attempt < 3):
        raise OSError("reset")
    return "landed"


ENGINE: list[DownloadEngine] = []


# ---- a child ---------------------------------------------------------------------------------------------------------


def open_engine(folder: Path, store: str, name: str) -> DownloadEngine:
    engine = DownloadEngine(store=store, name=name, trace=folder / "trace", retention=Retention(max_terminal=40))
    ENGINE[:] = [engine]
    log("opened", os.getpid(), time())
    os.write(OPENED, b".")
    engine.subscribe(hear)
    for name, policy in POLICIES.items():
        engine.register_source(name, policy, impl=None if name == "named" else fetch)
    return engine


def hear(event: object) -> None:
    """What the engine reports, it must stand by in its next life."""
    if not isinstance(event, Changed):
        return
    if event.phase in ("succeeded", "failed", "cancelled"):
        log("over", event.download_id, event.source, event.phase)
    elif event.source == "throttled" and event.record.get("next_attempt_at"):
        log("suspended", event.source, event.record["next_attempt_at"])


def wanted(source: str) -> Wanted:
    fates = random.choice(("fine", "third", "never"))
    what = {"flaky": fates, "twice": fates, "throttled": "throttled"}.get(source, "fine")
    return Wanted([what, random.choice((0, 0, 0.002, 0.02))], "n", "f", {"track": random.random()})


def caller(engine: DownloadEngine, number: int) -> None:
    recent: list[str] = []
    count = 0
    while True:
        source = random.choice(list(POLICIES))
        impl = fetch if source == "named" or random.random() < 0.2 else None
        if engine.stats()[source]["queued"] > 12:
            sleep(0.001)
        elif random.random() < 0.2:
            ids = engine.worker.dispatch_many(source, [wanted(source) for _ in range(random.randint(1, 6))], impl)
            log("ack", source, f"{os.getpid()}-{number}", *ids)
            recent += ids
        else:
            each = wanted(source)
            recent.append(engine.worker.dispatch(source, *each[:3], impl, *each[3:]))
            log("ack", source, f"{os.getpid()}-{number}", recent[-1])
        if recent and random.random() < 0.3:
            meddle(engine, random.choice(recent[-20:]))
        count += 1


def until_closed(engine: DownloadEngine, number: int) -> None:
    try:
        caller(engine, number)
    except haulier.EngineClosed:
        pass


def meddle(engine: DownloadEngine, download_id: str) -> None:
    match random.choice(("cancel", "cancel", "remove", "patch", "read")):
        case "cancel":
            log("cancels", download_id)
            if engine.cancel_download(download_id):
                log("cancelled", download_id)
        case "remove":
            log("cancels", download_id)
            engine.cancel_download(download_id, remove=True)
        case "patch":
            record = engine.get_download_status(download_id)
            if record is not None:
                engine.update_record(record["source"], download_id, {"note": random.random()})
        case _:
            engine.get_all_downloads()


def work(folder: Path, store: str, name: str) -> None:
    engine = open_engine(folder, store, name)
    for number in range(3):
        threading.Thread(target=until_closed, args=(engine, number), daemon=True).start()
    if random.random() < 0.15:
        sleep(random.uniform(0, LIFE_S))
        log("closing", os.getpid(), time())
        engine.close(timeout=random.choice((0.0, 0.01, 1.0)))
        log("closed", os.getpid(), time())
        os._exit(0)
    sleep(HANG_S)


def finish(folder: Path, store: str, name: str) -> None:
    """Run the queues dry, and write down what has become of everything."""
    engine = open_engine(folder, store, name)
    until = monotonic() + HANG_S / 2
    while any(status["queued"] or status["in_flight"] for status in engine.stats().values()):
        assert monotonic() < until, engine.stats()
        sleep(0.01)
    records: dict[str, Any] = {}
    before = None
    while page := engine.history(before=before, limit=500):
        for row in page:
            assert row.id not in records, f"{row.id} is in the history twice"
            attempts = [(each.attempt, each.outcome) for each in engine.attempts(row.source, row.id)]
            records[row.id] = {**row.record, "attempts": attempts}
        before = page[-1].cursor
    left = [record for record in engine.get_all_downloads() if record["id"] not in records]
    (folder / "records").write_text(json.dumps({"over": records, "left": left}))
    engine.close()


# ---- the parent ------------------------------------------------------------------------------------------------------


def fork(seed: str, run: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        random.seed(seed)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        run()
        status = 0
    except haulier.EngineClosed:
        pass
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def cut_off(path: Path) -> None:
    """Drop a line in the middle of which its process was killed."""
    lines = path.read_bytes()
    os.truncate(path, lines.rfind(b"\n") + 1)


def main(folder: Path, store: str, name: str, seed: str, kills: int) -> int:
    global LOG, OPENED
    LOG = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    opened, OPENED = os.pipe()
    chance = random.Random(seed)
    for number in range(kills):
        child = fork(f"{seed}-{number}", lambda: work(folder, store, name))
        if chance.random() < 0.8:
            select([opened], [], [], HANG_S)
        sleep(chance.uniform(0, LIFE_S))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        cut_off(folder / "log")
        log("gone", child, time())
        if select([opened], [], [], 0)[0]:
            os.read(opened, 100)
        if status not in (0, signal.SIGKILL):
            return 1
    return os.waitstatus_to_exitcode(os.waitpid(fork(f"{seed}-end", lambda: finish(folder, store, name)), 0)[1])


if __name__ == "__main__":
    _, folder, store, name, seed, kills = sys.argv
    sys.exit(main(Path(folder), store, name, seed, int(kills)))
