"""One engine at a time has a store: a second one, a fork and a signal handler leave it unharmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from tests.durable.downloads import dispatch_many, phases_of
from tests.waiting import GUARD_S

from haulier import (
    DownloadEngine,
    StoreUnavailable,
)

# ---- one at a time ---------------------------------------------------------------------------------------------------


def test_a_second_engine_is_refused_and_the_first_unharmed(engine: DownloadEngine, durable: Any, tmp_path: Any) -> None:
    before = set(threading.enumerate())
    with pytest.raises(StoreUnavailable, match="another engine of this process"):
        DownloadEngine(store=durable.path, trace=tmp_path / "other.trace")
    assert set(threading.enumerate()) == before
    assert not (tmp_path / "other.trace").exists()
    program = (
        "import haulier, sys\n"
        "try: haulier.DownloadEngine(store=sys.argv[1])\n"
        "except haulier.StoreUnavailable as error: print(repr(error))\n"
    )
    call = [sys.executable, "-c", program, str(durable.path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=50)
    assert done.stdout.startswith("StoreLocked("), done.stderr
    assert f"process {os.getpid()}" in done.stdout
    assert engine.wait(dispatch_many(engine, 1)[0], GUARD_S)["phase"] == "succeeded"


def test_an_engine_that_could_not_be_made_leaves_the_store_free(durable: Any, tmp_path: Any) -> None:
    with pytest.raises(OSError, match="No such file"):
        DownloadEngine(store=durable.path, trace=tmp_path / "nowhere" / "trace")
    durable.open()


# ---- a fork ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_leaves_the_parents_store_alone(tmp_path: Any) -> None:
    program = (
        "import gc, os, sys, warnings, haulier\n"
        "warnings.simplefilter('ignore')\n"
        "def fetch(*_): return '/x'\n"
        "engine = haulier.DownloadEngine(store=sys.argv[1])\n"
        "engine.worker.dispatch('s', 1, 'n', 'f', fetch)\n"
        "for _ in range(5):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        told = []\n"
        "        for call in (engine.history, engine.close, lambda: engine.worker.dispatch('s', 1, 'n', 'f', fetch)):\n"
        "            try: call()\n"
        "            except haulier.ForkedEngine: told.append(1)\n"
        "        try: haulier.DownloadEngine(store=sys.argv[1])\n"
        "        except haulier.StoreUnavailable: told.append(2)\n"
        "        del engine\n"
        "        gc.collect()\n"
        "        sys.exit(0 if told == [1, 1, 1, 2] else 1)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    engine.wait(engine.worker.dispatch('s', 1, 'n', 'f', fetch), 10)\n"
        "engine.close()\n"
        "engine = haulier.DownloadEngine(store=sys.argv[1])\n"
        "print([record['phase'] for record in engine.get_all_downloads()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "haulier.db")], capture_output=True, text=True, timeout=50
    )
    assert (done.stdout, done.stderr) == (f"{['succeeded'] * 6}\n", "")


# ---- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no signals here")
def test_a_signal_handler_that_closes_in_the_middle_of_a_dispatch(
    engine: DownloadEngine, durable: Any, meddle: Any
) -> None:
    """The dispatch is on its way to the disk: it is kept, or refused, and says which."""
    engine.register_source("s")
    engine.pause("s")
    meddler = meddle(engine)
    meddler.hold()

    def interrupt() -> None:
        assert meddler.arrived.wait(GUARD_S)
        os.kill(os.getpid(), signal.SIGUSR1)

    def handler(*_: Any) -> None:
        meddler.gate.set()
        engine.close()

    before = signal.signal(signal.SIGUSR1, handler)
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        ids = dispatch_many(engine, 2)
    finally:
        signal.signal(signal.SIGUSR1, before)
        interrupting.join()
    assert phases_of(durable.open(), ids) == ["queued", "queued"]
