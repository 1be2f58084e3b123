"""A busy program that forks: each child touches its parent's engine in every way, and is told so each time.

Prints the names of what the children were told, and the states of what the parent downloaded meanwhile.
"""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
import threading
import warnings
from collections.abc import Callable
from typing import Any

import haulier
import haulier.aio

CHILDREN = 10


def child(answers: Any, engine: haulier.DownloadEngine, subscription: Any, half: Any) -> None:
    face = haulier.aio.DownloadEngine(engine)
    calls: list[Callable[[], object]] = [
        engine.stats,
        engine.close,
        engine.get_all_downloads,
        subscription.close,
        lambda: next(half),
        lambda: engine.worker.dispatch("s", 1, "n", "f", print),
        lambda: engine.worker.set_concurrency("s", 2),
        lambda: engine.cancel_download("x"),
        lambda: engine.update_record("s", "x", {}),
        lambda: engine.wait("x"),
        lambda: engine.pause("s"),
        lambda: asyncio.run(face.stats()),
        lambda: asyncio.run(face.wait("x")),
        lambda: asyncio.run(face.close()),
    ]
    told = []
    for call in calls:
        try:
            call()
            told.append("nothing")
        except haulier.ForkedEngine:
            told.append("ForkedEngine")
    with haulier.DownloadEngine() as own:
        told.append(own.wait(own.worker.dispatch("s", 1, "n", "f", lambda *_: "/x"), 10)["state"])
    answers.put(told)


def main() -> None:
    faulthandler.dump_traceback_later(40, exit=True)
    warnings.simplefilter("ignore")  # newer Pythons warn of threads and fork: that is what this is about
    engine = haulier.DownloadEngine()
    stop = threading.Event()

    def caller() -> None:
        while not stop.wait(0.0005):
            engine.worker.dispatch("s", 1, "n", "f", lambda *_: "/x")

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    subscription = engine.subscribe(lambda _: None)
    ids = [engine.worker.dispatch("s", 1, "n", "f", lambda *_: "/x") for _ in range(2)]
    half = engine.as_completed(ids, 10)
    next(half)
    context = multiprocessing.get_context("fork")
    told = set()
    for _ in range(CHILDREN):
        answers = context.Queue()
        process = context.Process(target=child, args=(answers, engine, subscription, half))
        process.start()
        told.update(answers.get(timeout=20))
        process.join(20)
        assert process.exitcode == 0, process.exitcode
    stop.set()
    for thread in threads:
        thread.join()
    engine.close(drain=True)
    print(sorted(told), {record["state"] for record in engine.get_all_downloads()})


if __name__ == "__main__":
    main()
