"""The engine for asyncio: ``async with haulier.aio.DownloadEngine() as engine``.

Await each call; iterate over what arrives over time::

    download_id = await engine.worker.dispatch("youtube", "dQw4", "A song", "song.opus", fetch)
    record = await engine.wait(download_id)
    async for record in engine.as_completed(ids): ...
    async with engine.subscribe() as events:
        async for event in events: ...

Impls are blocking functions here, too. They run on their source's thread, not in the loop.
"""

from __future__ import annotations

from haulier.aio.engine import DownloadEngine
from haulier.aio.events import Events
from haulier.aio.worker import BackgroundDownloadWorker

__all__ = ["BackgroundDownloadWorker", "DownloadEngine", "Events"]
