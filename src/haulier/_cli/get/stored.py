"""``--store``: downloads that outlive the command, and those that an earlier command left unfinished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from haulier._cli.arguments import UsageError
from haulier._cli.display.tally import Tally
from haulier._cli.get.planned import PlannedDownload
from haulier._engine.engine import DownloadEngine
from haulier._engine.ticket import Impl
from haulier._engine.worker import Wanted as Dispatched
from haulier.fetchers.origin import key_of
from haulier.fetchers.request import Request
from haulier.records import WAITING_PHASES
from haulier.transfer import Transfer

__all__ = ["Kept", "impl_of", "kept_in", "leave_kept", "to_store"]


class Kept(NamedTuple):
    """A download in the store that an earlier command left unfinished."""

    source: str
    is_medium: bool
    key: str
    """A hash of the URL, as the URL itself may contain a secret."""


def kept_in(engine: DownloadEngine) -> list[Kept]:
    """The unfinished downloads in the store. Moves those that have ended to its history.

    Raises ``UsageError`` if the store contains downloads of another program.
    """
    kept = []
    for record in engine.get_all_downloads():
        if not {"shown", "key", "is_medium"} <= record.keys():
            raise UsageError("cannot use --store: the file contains downloads of another program; choose another file")
        if record["phase"] in WAITING_PHASES:
            kept.append(Kept(record["source"], record["is_medium"], record["key"]))
    engine.clear_all_completed_downloads()
    return kept


def to_store(planned: Iterable[PlannedDownload], kept: Iterable[Kept]) -> dict[str, list[Dispatched]]:
    """By source, the downloads of ``planned`` that are not in the store yet, as arguments of ``dispatch_many``."""
    keys = {each.key for each in kept}
    new: dict[str, list[Dispatched]] = {}
    for source, request, shown, name, is_medium in planned:
        key = key_of(request.url)
        if key not in keys:
            fields = {"shown": shown, "name": name, "key": key, "is_medium": is_medium}
            target = {"is_medium": is_medium, "request": request.as_dict()}
            new.setdefault(source, []).append(Dispatched(target, name, "", fields))
    return new


def impl_of(source: str, impls: Mapping[tuple[str, bool], Impl]) -> Impl:
    """The impl of ``source``. It calls the fetcher of each download: HTTP or yt-dlp."""

    def fetch(download_id: str, target_id: Any, display_name: str, transfer: Transfer) -> Any:
        impl: Any = impls[source, target_id["is_medium"]]
        return impl(download_id, Request.of(target_id["request"]), display_name, transfer)

    return fetch


def leave_kept(engine: DownloadEngine, tally: Tally) -> None:
    """After the engine was closed, count the downloads that are still unfinished in the store."""
    for record in engine.get_all_downloads():
        if record["phase"] in WAITING_PHASES:
            # A download that is queued for the next command has lost the progress of its last attempt.
            begun = tally.stopped_at.get(record["id"], (record.get("attempt", 0), record["progress"]))
            tally.add_unfinished(record["source"], record["shown"], *begun)
