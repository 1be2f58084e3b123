"""A forked child that touches its parent's engine is told so at once; the parent is unharmed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from pathlib import Path
from time import monotonic

import pytest

from haulier import DownloadEngine
from haulier.errors import forked

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def test_children_of_a_busy_program_are_told_and_it_goes_on() -> None:
    done = subprocess.run([sys.executable, str(PROGRAMS / "forks.py")], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == (
        "['Completed, Succeeded', 'ForkedEngine'] {'Completed, Succeeded'}\n",
        "",
    )


def test_a_child_that_returns_from_an_impl_ends_instead_of_working_on() -> None:
    program = (
        "import os, warnings, haulier\n"
        "warnings.simplefilter('ignore')\n"
        "engine = haulier.DownloadEngine()\n"
        "def forks(*_):\n"
        "    child = os.fork()\n"
        "    return 'the child' if child == 0 else str(os.waitpid(child, 0)[1])\n"
        "ids = [engine.worker.dispatch('s', n, 'n', 'f', forks) for n in range(2)]\n"
        "print([engine.wait(each, 20)['file_path'] for each in ids])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stdout == "['0', '0']\n"
    assert done.stderr.count("haulier.errors.ForkedEngine: this engine was made before the fork") == 2


def test_an_engine_cannot_be_sent_to_another_process(engine: DownloadEngine) -> None:
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(engine)


def test_workers_of_gunicorn_with_an_engine_made_before_they_were(tmp_path: Path) -> None:
    log, address = tmp_path / "log", tmp_path / "address"
    config = tmp_path / "config.py"
    config.write_text(
        "bind = '127.0.0.1:0'\nworkers = 2\npreload_app = True\n"
        "def when_ready(server):\n"
        f"    open({str(address)!r}, 'w').write('%s:%s\\n' % server.LISTENERS[0].sock.getsockname())\n"
    )
    call = [sys.executable, "-m", "gunicorn", "--config", str(config), "--chdir", str(PROGRAMS), "preloaded:app"]
    server = subprocess.Popen(call, env={**os.environ, "HAULIER_LOG": str(log)}, stderr=subprocess.PIPE, text=True)
    try:
        until, tick = monotonic() + 20, threading.Event()
        while not (address.exists() and address.read_text().endswith("\n")):
            assert monotonic() < until, "gunicorn does not come up"
            assert server.poll() is None, "gunicorn has ended"
            tick.wait(0.02)
        answers = [_get(f"http://{address.read_text().strip()}/") for _ in range(6)]
        assert {tuple(answer.split("|")[:2]) for answer in answers} == {(str(forked()), "Completed, Succeeded")}
        while not log.exists() or log.read_text().count("\n") < 40:
            assert monotonic() < until, "the master's engine does not go on"
            tick.wait(0.02)
    finally:
        server.send_signal(signal.SIGTERM)
        _, stderr = server.communicate(timeout=20)
    assert Counter(log.read_text().split()) == {answers[0].split("|")[2]: 40}, "run by the master, each once"
    assert "Worker" not in stderr.replace("Worker exiting", ""), stderr


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())
