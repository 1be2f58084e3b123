"""An asyncio program: it dispatches, watches and waits in its own event loop. No call blocks the loop."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from haulier import Changed, SourcePolicy, Transfer, aio

FOLDER = Path(tempfile.mkdtemp())
SIZE = 64 * 1024


def fetch(transfer: Transfer) -> str:
    """An impl stays a plain function: it runs on its source's thread, and may block there."""
    path = FOLDER / transfer.filename
    with path.open("wb") as file:
        for transferred in range(4096, SIZE + 1, 4096):
            transfer.raise_if_cancelled()
            file.write(bytes(4096))
            transfer.progress(transferred, SIZE)
    return str(path)


async def narrate(events: aio.Events) -> None:
    """Print what happens until the engine closes."""
    async for event in events:
        if isinstance(event, Changed):
            print(f"{event.record['filename']} is {event.phase}")


async def main() -> None:
    """Download from two sources at once, each with its own policy, and cancel one download before it starts."""
    engine = aio.DownloadEngine()
    async with engine.subscribe() as events, asyncio.TaskGroup() as tasks, engine:
        tasks.create_task(narrate(events))
        await engine.register_source("slow.example", SourcePolicy(delay=0.3), impl=fetch)
        await engine.register_source("fast.example", SourcePolicy(concurrency=2), impl=fetch)
        ids = [
            await engine.worker.dispatch(f"{pace}.example", n, f"File {n}", f"{pace}-{n}.bin")
            for pace in ("slow", "fast")
            for n in range(3)
        ]
        await engine.cancel_download(ids[2], source_hint="slow.example")
        async for record in engine.as_completed(ids, timeout=30):
            print(f"{record['filename']}: {record['transferred']} bytes, {record['state']}")


asyncio.run(main())
