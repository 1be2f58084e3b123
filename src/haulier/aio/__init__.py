"""The same face for asyncio: ``async with haulier.aio.DownloadEngine() as engine``.

What returns is awaited, what arrives over time is iterated::

    download_id = await engine.worker.dispatch("youtube", "dQw4", "A song", "song.opus", fetch)
    record = await engine.wait(download_id)
    async for record in engine.as_completed(ids): ...
    async with engine.subscribe() as events:
        async for event in events: ...

Impls stay functions that block: they run on their source's thread, not in the loop.
"""

from __future__ import annotations

from haulier.aio.engine import DownloadEngine
from haulier.aio.events import Events
from haulier.aio.worker import BackgroundDownloadWorker

__all__ = ["BackgroundDownloadWorker", "DownloadEngine", "Events"]
