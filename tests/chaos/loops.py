"""Callers in an asyncio loop: the same plan, through ``haulier.aio``, with tasks that are cancelled in the middle."""

from __future__ import annotations

import asyncio
import traceback

from tests.chaos.callers import Hearer
from tests.chaos.calls import STATES, Calls
from tests.chaos.plan import Action

from haulier import EngineClosed, QueueFull, SourceDown, UnknownDownload, aio

__all__ = ["Loop"]


class Loop:
    """A loop of several tasks."""

    def __init__(self, calls: Calls, tasks: tuple[tuple[Action, ...], ...]) -> None:
        self._calls, self._books, self._tasks = calls, calls.books, tasks

    def run(self) -> None:
        """Run every task to its end."""
        with self._books.calling():
            try:
                asyncio.run(self._main())
            except Exception:
                self._books.blame("raised", f"the loop raised\n{traceback.format_exc()}")

    async def _main(self) -> None:
        face = aio.DownloadEngine(self._calls.engine)
        listener = asyncio.create_task(self._listen(face))
        await asyncio.gather(*(self._carry_out(face, actions) for actions in self._tasks))
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, face: aio.DownloadEngine) -> None:
        """Hear events until this task is cancelled, or the engine has closed."""
        hearer = Hearer(self._books, 0.5)
        try:
            async with face.subscribe(capacity=500) as events:
                async for event in events:
                    hearer(event)
        except EngineClosed:
            self._books.count("refused: EngineClosed")

    async def _carry_out(self, face: aio.DownloadEngine, actions: tuple[Action, ...]) -> None:
        for action in actions:
            call = asyncio.create_task(self._act(face, action))
            try:
                async with asyncio.timeout(0.002 if action.pick < 0.1 else None):
                    await call
            except TimeoutError:
                self._books.count("aio: task cancelled")
            except Exception:
                self._books.blame("raised", f"aio: {action.kind} raised\n{traceback.format_exc()}")
            await asyncio.sleep(action.pause_s)

    async def _act(self, face: aio.DownloadEngine, action: Action) -> None:
        kind, pick = action.kind, action.pick
        download_id = self._books.pick(pick) or "nobody"
        fact = self._books.facts.get(download_id)
        self._books.count(f"aio: {kind}")
        with self._calls.allowing(f"aio: {kind}", EngineClosed, SourceDown, QueueFull, UnknownDownload, TimeoutError):
            if kind in ("dispatch", "burst"):
                await self._dispatch(face, action)
            elif kind.startswith("cancel"):
                self._books.mark(download_id, asked=True)
                self._calls.cancelled(download_id, await face.cancel_download(download_id))
            elif kind in ("pause", "resume", "revive"):
                await getattr(face, kind)(action.source)
            elif kind in ("patch", "patch_state") and fact is not None:
                await face.update_record(fact.source, download_id, {"state": STATES[int(pick * 5)], "aio": pick})
            elif kind == "patch_unless" and fact is not None:
                await face.update_record_unless_state(fact.source, download_id, {"aio": pick}, STATES[:2])
            elif kind == "remove" and fact is not None:
                self._books.mark(download_id, asked=True)
                await face.remove_record(fact.source, download_id)
            elif kind == "clear":
                await face.clear_all_completed_downloads()
            elif kind == "read_all":
                for record in await face.get_all_downloads():
                    self._books.saw(record)
            elif kind == "stats":
                await face.stats()
            elif kind == "explain":
                await face.explain(download_id)
            elif kind == "wait":
                self._calls.saw(download_id, await face.wait(download_id, action.seconds), over=True)
            elif kind == "as_completed":
                picks = [self._books.pick(pick * part / 5) or "nobody" for part in range(1, 6)]
                async for record in face.as_completed(picks, action.seconds):
                    self._calls.saw(record.get("id", ""), record, over=True)
            else:
                self._books.saw(await face.get_download_status(download_id))

    async def _dispatch(self, face: aio.DownloadEngine, action: Action) -> None:
        for errand in action.errands:
            form = self._calls.forms.of(errand.form)
            name = f"errand {errand.number}"
            download_id = await face.worker.dispatch(action.source, errand, name, f"{errand.number}.bin", form)
            self._books.accepted(download_id, action.source, errand)
