"""Impls that do what impls do, and worse. What each did is in the books before the engine knows."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, NoReturn

from tests.chaos.books import Did, Run
from tests.chaos.calls import CALLERS_ERROR, STATES, Calls, Forms
from tests.chaos.oddities import BadResult, BadText, OwnBase, did_of_error, did_of_result, no_file
from tests.chaos.plan import Deed
from tests.chaos.world import GUARD_S, Dropped, World, doze

from haulier import DownloadCancelled, PermanentError, SourceCrashed, Throttled, Transfer, current_transfer

__all__ = ["Impls"]


class Impls:
    """The one impl of a round, which does what its target says."""

    def __init__(self, world: World) -> None:
        self._world, self._books = world, world.books
        self.forms = Forms(self._fetch, current_transfer)
        self._calls = Calls(world, self.forms)

    def _fetch(self, transfer: Transfer) -> Any:
        errand = transfer.target_id
        run = self._books.enter(transfer, errand)
        did = Did("crashed", "killed from outside")
        try:
            deed = errand.deeds[min(run.number, len(errand.deeds)) - 1]
            self._books.count(f"impl: {deed.kind}")
            try:
                result = getattr(self, f"_{deed.kind}")(run, deed)
            except Dropped:
                result = self._path(run)
            did = did_of_result(result)
            return result
        except BaseException as error:
            did = did_of_error(error)
            raise
        finally:
            self._books.leave(run, did)

    def _path(self, run: Run) -> str:
        """A file that is there."""
        path = self._world.folder / f"{run.transfer.download_id}-{run.number}"
        path.touch()
        return str(path)

    # ---- ends well ---------------------------------------------------------------------------------------------------

    def _instant(self, run: Run, deed: Deed) -> str:
        return self._path(run)

    def _slow(self, run: Run, deed: Deed) -> str:
        doze(deed.seconds)
        return self._path(run)

    def _meet(self, run: Run, deed: Deed) -> str:
        """As many as may run at once, do."""
        try:
            self._world.meetings[run.transfer.source].wait(GUARD_S)
        except threading.BrokenBarrierError:
            self._books.blame("limit", f"{run.transfer.source}: as many as may run at once never did")
        return self._path(run)

    def _progress(self, run: Run, deed: Deed) -> str:
        for number in range(40):
            run.transfer.progress(number * 1000, 40_000)
            if number % 10 == 0:
                doze(deed.seconds / 10)
        return self._path(run)

    def _path_like(self, run: Run, deed: Deed) -> Any:
        return self._world.folder / self._path(run)

    def _number(self, run: Run, deed: Deed) -> Any:
        return run.number

    def _linger(self, run: Run, deed: Deed) -> str:
        """A thread of its own goes on writing."""
        name, download_id = run.transfer.source, run.transfer.download_id

        def write() -> None:
            for number in range(10):
                doze(0.002)
                run.transfer.progress(number, 10)
                try:
                    self._calls.engine.update_record(name, download_id, {"state": STATES[number % 5], "speed": number})
                except Dropped:
                    return

        threading.Thread(target=write, name="chaos-linger", daemon=True).start()
        return self._path(run)

    # ---- fails -------------------------------------------------------------------------------------------------------

    def _error(self, run: Run, deed: Deed) -> NoReturn:
        doze(deed.seconds)
        raise OSError(f"reset by {run.transfer.source}")

    def _no_text(self, run: Run, deed: Deed) -> NoReturn:
        raise ConnectionError

    def _bad_text(self, run: Run, deed: Deed) -> NoReturn:
        raise BadText

    def _permanent(self, run: Run, deed: Deed) -> NoReturn:
        raise PermanentError("gone")

    def _none(self, run: Run, deed: Deed) -> None:
        return None

    def _empty(self, run: Run, deed: Deed) -> str:
        return ""

    def _memory(self, run: Run, deed: Deed) -> NoReturn:
        raise MemoryError

    def _recursion(self, run: Run, deed: Deed) -> Any:
        return self._recursion(run, deed)

    def _group(self, run: Run, deed: Deed) -> NoReturn:
        raise ExceptionGroup("several", [OSError("one"), ValueError("two")])

    def _stop_iteration(self, run: Run, deed: Deed) -> NoReturn:
        raise StopIteration("of a client's own")

    def _coroutine(self, run: Run, deed: Deed) -> Any:
        return no_file()

    def _bad_result(self, run: Run, deed: Deed) -> Any:
        return BadResult(ValueError("no path"))

    def _throttled(self, run: Run, deed: Deed) -> NoReturn:
        raise Throttled(deed.seconds)

    def _gives_up(self, run: Run, deed: Deed) -> NoReturn:
        raise DownloadCancelled("of its own accord")

    def _async_cancelled(self, run: Run, deed: Deed) -> NoReturn:
        raise asyncio.CancelledError

    # ---- crashes its source ------------------------------------------------------------------------------------------

    def _exit(self, run: Run, deed: Deed) -> NoReturn:
        raise SystemExit(3)

    def _interrupt(self, run: Run, deed: Deed) -> NoReturn:
        raise KeyboardInterrupt

    def _source_crashed(self, run: Run, deed: Deed) -> NoReturn:
        raise SourceCrashed("the client is broken")

    def _generator_exit(self, run: Run, deed: Deed) -> NoReturn:
        raise GeneratorExit

    def _own_base(self, run: Run, deed: Deed) -> NoReturn:
        raise OwnBase("of a client's own")

    def _deadly_result(self, run: Run, deed: Deed) -> Any:
        return BadResult(SystemExit("in the middle of a path"))

    # ---- hangs -------------------------------------------------------------------------------------------------------

    def _hang(self, run: Run, deed: Deed) -> str:
        while not self._world.let_go.is_set():
            doze(0.02)
        if deed.pick < 0.3:
            raise OSError("after all")
        if deed.pick < 0.5:
            raise SystemExit(4)
        return self._path(run)

    def _late(self, run: Run, deed: Deed) -> str:
        doze(deed.seconds)
        return self._path(run)

    def _late_crash(self, run: Run, deed: Deed) -> NoReturn:
        doze(deed.seconds)
        raise SystemExit(5)

    def _polite(self, run: Run, deed: Deed) -> str:
        for _ in range(20):
            run.transfer.raise_if_cancelled()
            doze(0.001)
        return self._path(run)

    # ---- calls the engine itself -------------------------------------------------------------------------------------

    def _reads(self, run: Run, deed: Deed) -> str:
        calls, transfer = self._calls, run.transfer
        with calls.allowing("reads"):
            calls.look(transfer.download_id)
            self._books.saw(calls.engine.get_record(transfer.source, transfer.download_id))
            if deed.pick < 0.3:
                calls.engine.stats()
        return self._path(run)

    def _writes(self, run: Run, deed: Deed) -> str:
        for number in range(1, 20):
            self._calls.patch(run.transfer.download_id, "step", number, progress=number * 5.0)
        return self._path(run)

    def _own_states(self, run: Run, deed: Deed) -> str | None:
        for state in STATES:
            self._calls.patch(run.transfer.download_id, "tried", state, state=state, error=CALLERS_ERROR)
        return self._path(run) if deed.pick < 0.7 else None

    def _storm(self, run: Run, deed: Deed) -> str:
        name, transfer = run.transfer.source, run.transfer

        def write() -> None:
            for number in range(150):
                transfer.progress(number, 150)
                try:
                    self._calls.engine.update_record(name, transfer.download_id, {"transferred": number, "size": 150})
                except Dropped:
                    return

        writers = [threading.Thread(target=write, name="chaos-storm", daemon=True) for _ in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(GUARD_S)
        return self._path(run)

    def _cancel_own(self, run: Run, deed: Deed) -> str:
        self._calls.cancel(run.transfer.download_id, run.transfer.source)
        if deed.pick < 0.5:
            run.transfer.raise_if_cancelled()
        return self._path(run)

    def _cancel_other(self, run: Run, deed: Deed) -> str:
        other = self._books.pick(deed.pick)
        if other is not None:
            self._calls.cancel(other)
        return self._path(run)

    def _remove_own(self, run: Run, deed: Deed) -> str:
        self._calls.remove(run.transfer.download_id)
        return self._path(run)

    def _follow_up(self, run: Run, deed: Deed) -> str:
        child = run.transfer.target_id.child
        names = [setup.name for setup in self._world.plan.sources]
        self._calls.dispatch(names[int(deed.pick * len(names))], child)
        return self._path(run)

    def _limits(self, run: Run, deed: Deed) -> str:
        names = self._world.changing
        self._calls.set_concurrency(names[int(deed.pick * len(names))], 1 + int(deed.seconds * 375))
        return self._path(run)

    def _wait_own(self, run: Run, deed: Deed) -> str:
        try:
            self._calls.engine.wait(run.transfer.download_id, 1.0)
        except RuntimeError:
            return self._path(run)
        self._books.blame("hang", f"{run.transfer}: an impl could wait for its own end")
        return ""

    def _wait_other(self, run: Run, deed: Deed) -> str:
        other = self._books.pick(deed.pick)
        if other is not None:
            self._calls.wait([other], 0.005)
        return self._path(run)

    def _collect(self, run: Run, deed: Deed) -> str:
        gc.collect()
        return self._path(run)

    def _close(self, run: Run, deed: Deed) -> str:
        self._books.closing = True
        self._calls.engine.close(timeout=deed.seconds)
        return self._path(run)
