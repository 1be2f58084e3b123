"""Calls of the engine, each with its entry in the books, and held against what the call promises by itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.chaos.plan import Errand
from tests.chaos.world import Dropped, World

from haulier import DownloadEngine, EngineClosed, QueueFull, Record, SourceDown, State, Transfer, UnknownDownload
from haulier.records import TERMINAL_PHASES

__all__ = ["CALLERS_ERROR", "STATES", "Calls", "Forms"]

CALLERS_ERROR = "error of a caller"
STATES = ("InProgress, Downloading", "Aborted", "Errored", "Completed, Succeeded", "Initializing")


class Forms:
    """One impl in the forms in which an impl may come."""

    def __init__(self, run: Callable[[Transfer], Any], current: Callable[[], Transfer]) -> None:
        self._run, self._current = run, current

    def plain(self, download_id: str, target_id: Any, display_name: str) -> Any:
        """With three arguments."""
        return self._run(self._current())

    def beside(self, download_id: str, target_id: Any, display_name: str, transfer: Transfer) -> Any:
        """With its transfer beside them."""
        return self._run(transfer)

    def alone(self, transfer: Transfer) -> Any:
        """With its transfer alone."""
        return self._run(transfer)

    __call__ = plain

    def of(self, form: int) -> Callable[..., Any] | None:
        """The impl in one of six forms; None: the one that the source has."""
        return (None, self.plain, self.beside, self.alone, partial(self.plain), self)[form % 6]


class Calls:
    """What callers, and impls, do."""

    def __init__(self, world: World, forms: Forms) -> None:
        self.world, self.books, self.forms = world, world.books, forms

    @property
    def engine(self) -> DownloadEngine:
        """The engine, while somebody holds it."""
        engine = self.world.engine
        if engine is None:
            raise Dropped
        return engine

    @contextmanager
    def allowing(self, what: str, *allowed: type[Exception]) -> Iterator[None]:
        """Let a call raise what it may, and nothing else. ``EngineClosed`` only when somebody has closed it."""
        self.books.looks["raised"] += 1
        try:
            yield
        except Dropped:
            raise
        except allowed as error:
            if isinstance(error, EngineClosed) and not self.books.closing:
                self.books.blame("raised", f"{what}: nobody has closed the engine, and it says {error!r}")
            self.books.count(f"refused: {type(error).__name__}")
        except Exception:
            self.books.blame("raised", f"{what} raised\n{traceback.format_exc()}")

    # ---- downloads ---------------------------------------------------------------------------------------------------

    def dispatch(self, source: str, errand: Errand) -> str | None:
        """Dispatch; the id, or None where it was refused."""
        with self.allowing(f"dispatch to {source}", EngineClosed, SourceDown, QueueFull):
            thread_name = f"errand {errand.number}" if errand.number % 17 == 0 else None
            extras = {"number": errand.number} if errand.form % 2 else None
            name = f"{source} too" if errand.number % 7 == 1 else source
            download_id = self.engine.worker.dispatch(
                name, errand, f"errand {errand.number}", f"{errand.number}.bin", self.forms.of(errand.form),
                extra_record_fields=extras, thread_name=thread_name,
            )  # fmt: skip
            self.books.accepted(download_id, source, errand)
            return download_id
        return None

    def cancel(self, download_id: str, hint: str | None = None, remove: bool = False) -> None:
        """Cancel; where that returned True, it is so at once and for ever."""
        self.books.mark(download_id, asked=True)
        with self.allowing("cancel_download"):
            done = self.engine.cancel_download(download_id, hint, remove)
            self.cancelled(download_id, done)
            self.look(download_id, over=done)

    def cancelled(self, download_id: str, done: object) -> None:
        """A cancel has returned."""
        if done not in (True, False):
            self.books.blame("truth", f"cancel_download returned {done!r}")
        if done:
            self.books.mark(download_id, cancelled=True)
            self.books.count("cancelled")

    def look(self, download_id: str, *, over: bool = False) -> Record | None:
        """Read a record; ``over``: it must be, where it still is."""
        record = self.engine.get_download_status(download_id)
        self.saw(download_id, record, over=over)
        return record

    def saw(self, download_id: str, record: Record | None, *, over: bool = False) -> None:
        """A record was read."""
        self.books.saw(record)
        fact = self.books.facts.get(download_id)
        if fact is None or fact.replaced:
            return
        if over and record is not None and record.get("phase") not in TERMINAL_PHASES:
            self.books.blame("truth", f"{download_id} is to be over, and is {record.get('phase')}")

    def remove(self, download_id: str) -> None:
        """Take a record out: then it is gone, and the download with it."""
        fact = self.books.facts.get(download_id)
        if fact is None:
            return
        self.books.mark(download_id, asked=True)
        with self.allowing("remove_record"):
            record = self.engine.remove_record(fact.source, download_id)
            self.saw(download_id, record, over=True)
            if self.engine.get_record(fact.source, download_id) is not None and not fact.replaced:
                self.books.blame("truth", f"{download_id} was removed, and is there")

    # ---- records -----------------------------------------------------------------------------------------------------

    def patch(self, download_id: str, key: str, value: object, **more: object) -> None:
        """Write, and read what was written."""
        fact = self.books.facts.get(download_id)
        if fact is None:
            return
        with self.allowing("update_record"):
            self.engine.update_record(fact.source, download_id, {key: value, **more})
            record = self.engine.get_record(fact.source, download_id)
            self.books.saw(record)
            if record is not None and record.get(key) != value and not fact.replaced:
                self.books.blame(
                    "truth", f"{download_id}: {key}={value!r} was written, and {record.get(key)!r} is read"
                )

    def patch_cancel(self, download_id: str) -> None:
        """A patch that cancels."""
        fact = self.books.facts.get(download_id)
        if fact is None:
            return
        self.books.mark(download_id, asked=True)
        with self.allowing("update_record"):
            self.engine.update_record(fact.source, download_id, {"state": State.CANCELLED})
            self.look(download_id, over=True)

    def patch_unless(self, download_id: str, patch: Record, states: tuple[str, ...]) -> None:
        """A patch with a condition, which may be a cancel."""
        fact = self.books.facts.get(download_id)
        if fact is None:
            return
        cancels = patch.get("state") == State.CANCELLED
        if cancels:
            self.books.mark(download_id, asked=True)
        with self.allowing("update_record_unless_state"):
            done = self.engine.update_record_unless_state(fact.source, download_id, patch, states)
            if done not in (True, False):
                self.books.blame("truth", f"update_record_unless_state returned {done!r}")
            self.look(download_id, over=cancels and done)

    def read_all(self) -> None:
        """Read every record."""
        with self.allowing("get_all_downloads"):
            for record in self.engine.get_all_downloads():
                self.books.saw(record)

    # ---- waiting -----------------------------------------------------------------------------------------------------

    def wait(self, ids: list[str], timeout: float) -> None:
        """Wait for some downloads; those that arrive are over."""
        with self.allowing("wait", TimeoutError, UnknownDownload, RuntimeError):
            if len(ids) == 1:
                arrived = [self.engine.wait(ids[0], timeout)]
            else:
                arrived = list(self.engine.as_completed(ids, timeout))
            for record in arrived:
                self.saw(record.get("id", ""), record, over=True)

    # ---- sources -----------------------------------------------------------------------------------------------------

    def set_concurrency(self, source: str, many: int) -> None:
        """Another limit."""
        self.books.allow(source, many)
        with self.allowing("set_concurrency", EngineClosed):
            self.engine.worker.set_concurrency(source, many)
