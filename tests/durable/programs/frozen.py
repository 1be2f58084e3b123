"""A program that ends while its dispatch waits for a PostgreSQL server that is frozen: ``frozen.py URL NAME``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from time import sleep
from typing import Any

import haulier


def fetch(*_: Any) -> str:
    return "/x"


def main(url: str, name: str) -> None:
    engine: Any = haulier.DownloadEngine(store=url, name=name)
    store = engine._system.store
    engine.register_source("s", impl=fetch)
    pid = store.storage._connection.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    print(pid)
    threading.Thread(target=engine.worker.dispatch, args=("s", 1, "n", "f"), daemon=True).start()
    while store._drainer is None:
        sleep(0.001)
    print("waits")


if __name__ == "__main__":
    main(*sys.argv[1:])
