"""Opens a storage, writes a row, says ``open PID`` and stays: ``holds.py WHERE NAME [fork|writes]``.

With ``fork`` it has a child, which outlives it until its standard input ends; with ``writes`` it writes once more for
each line that it is given, and says ``wrote``.
"""

from __future__ import annotations

import os
import sys

from haulier._engine.storage import Batch, Row, open_storage

storage = open_storage(sys.argv[1], sys.argv[2])
storage.write(Batch(added=[Row("tidal", "held", 1, "queued", None, "{}", None, None)]))
if "fork" in sys.argv and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print("open", os.getpid(), flush=True)
while "writes" in sys.argv and sys.stdin.readline():
    storage.write(Batch(forgotten=[("tidal", "nothing")]))
    print("wrote", flush=True)
sys.stdin.read()
