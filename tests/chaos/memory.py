"""What a round leaves behind in memory: none of the engine's objects, and no growth."""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path
from typing import Final

from haulier import DownloadEngine, Subscription, Transfer
from haulier._engine.core.entry import Entry
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.source import Source
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.slot import SourceActor
from haulier._engine.shells.store import Store, StoreActor
from haulier._engine.shells.supervisor import SupervisorActor, SupervisorInbox
from haulier._engine.shells.system import System
from haulier.trace import Trace

__all__ = ["alive", "resident_bytes"]

ENGINES: Final = (
    DownloadEngine, Entry, Ledger, Mailbox, Source, SourceActor, Store, StoreActor, Subscription, SupervisorInbox,
    SupervisorActor, System, Trace, Transfer,
)  # fmt: skip

STATM: Final = Path("/proc/self/statm")


def alive() -> Counter[str]:
    """The objects of engines that are still there, by type."""
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, ENGINES))


def resident_bytes() -> int:
    """What of this process is in memory; 0 where that cannot be told."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if STATM.exists() else 0
