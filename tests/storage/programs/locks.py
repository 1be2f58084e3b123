"""Processes that take one lock and let go of it, over and over: ``locks.py PATH PROCESSES ROUNDS``.

Each makes a folder while it has the lock: that it is there already says that another one has it as well. Prints how
often each had the lock.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from haulier import StoreLocked
from haulier._engine.storage.lock import FileLock


def take_turns(path: str, rounds: int) -> int:
    """How often it had the lock."""
    turns = 0
    while turns < rounds:
        try:
            lock = FileLock(path)
        except StoreLocked:
            continue
        folder = Path(path + ".held")
        folder.mkdir()
        folder.rmdir()
        lock.release()
        turns += 1
    return turns


def main(path: str, processes: int, rounds: int) -> None:
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            try:
                os.write(1, f"{take_turns(path, rounds)}\n".encode())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    sys.exit(max(statuses) != 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
