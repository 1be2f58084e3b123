"""A WSGI program whose engine is made before gunicorn forks its workers, as ``--preload`` has it.

``HAULIER_LOG`` names a file that its downloads write to: the process that ran them, a line each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import haulier

MASTER = os.getpid()
DOWNLOADS = 40


def fetch(*_: Any) -> str:
    with open(os.environ["HAULIER_LOG"], "a") as log:
        log.write(f"{os.getpid()}\n")
    return "/x"


engine = haulier.DownloadEngine()
engine.worker.set_delay("s", 0.05)
for number in range(DOWNLOADS):
    engine.worker.dispatch("s", number, "n", "f", fetch)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """What a worker has of its master's engine, and of one of its own."""
    assert os.getpid() != MASTER
    try:
        engine.worker.dispatch("s", 0, "n", "f", fetch)
        told = "no error"
    except haulier.ForkedEngine as error:
        told = str(error)
    with haulier.DownloadEngine() as own:
        record = own.wait(own.worker.dispatch("s", 0, "n", "f", lambda *_: "/x"), 10)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{told}|{record['state']}|{MASTER}".encode()]
