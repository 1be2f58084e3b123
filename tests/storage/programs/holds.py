"""Opens a storage, writes a row, says ``open PID`` and stays: ``holds.py WHERE NAME [fork]``.

With ``fork`` it has a child, which outlives it until its standard input ends.
"""

from __future__ import annotations

import os
import sys

from haulier.storage import Batch, Row, open_storage

storage = open_storage(sys.argv[1], sys.argv[2])
storage.write(Batch(added=[Row("tidal", "held", 1, "queued", None, "{}", None, None)]))
if "fork" in sys.argv and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print("open", os.getpid(), flush=True)
sys.stdin.read()
