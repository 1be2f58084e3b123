"""``--store``: downloads that outlive the command, and what an earlier one left of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from haulier._cli.arguments import UsageError
from haulier._cli.display.tally import Tally
from haulier._cli.get.wanted import Wanted
from haulier._engine.engine import DownloadEngine
from haulier._engine.ticket import Impl
from haulier._engine.worker import Wanted as Dispatched
from haulier.fetchers.origin import key_of
from haulier.fetchers.request import Request
from haulier.records import WAITING_PHASES
from haulier.transfer import Transfer

__all__ = ["Kept", "impl_of", "kept_in", "leave_kept", "to_store"]


class Kept(NamedTuple):
    """A download that an earlier command did not come to the end of."""

    source: str
    is_medium: bool
    key: str
    """What stands for its URL, which may have a secret in it."""


def kept_in(engine: DownloadEngine) -> list[Kept]:
    """What waits in the store; what is over becomes history, and is not told of again.

    Raises ``UsageError`` for a store that is not of this command.
    """
    kept = []
    for record in engine.get_all_downloads():
        if not {"shown", "key", "is_medium"} <= record.keys():
            raise UsageError("cannot use --store: other downloads than those of 'haulier get' are in it")
        if record["phase"] in WAITING_PHASES:
            kept.append(Kept(record["source"], record["is_medium"], record["key"]))
    engine.clear_all_completed_downloads()
    return kept


def to_store(wanted: Iterable[Wanted], kept: Iterable[Kept]) -> dict[str, list[Dispatched]]:
    """What of ``wanted`` does not wait there already, by source, as it is dispatched."""
    keys = {each.key for each in kept}
    new: dict[str, list[Dispatched]] = {}
    for source, request, shown, name, is_medium in wanted:
        key = key_of(request.url)
        if key not in keys:
            fields = {"shown": shown, "name": name, "key": key, "is_medium": is_medium}
            target = {"is_medium": is_medium, "request": request.as_dict()}
            new.setdefault(source, []).append(Dispatched(target, name, "", fields))
    return new


def impl_of(source: str, impls: Mapping[tuple[str, bool], Impl]) -> Impl:
    """The impl of a source, which calls the fetcher that a download is for."""

    def fetch(download_id: str, target_id: Any, display_name: str, transfer: Transfer) -> Any:
        impl: Any = impls[source, target_id["is_medium"]]
        return impl(download_id, Request.of(target_id["request"]), display_name, transfer)

    return fetch


def leave_kept(engine: DownloadEngine, tally: Tally) -> None:
    """Count what waits still, now that the engine is closed."""
    for record in engine.get_all_downloads():
        if record["phase"] in WAITING_PHASES:
            tally.leave(record["source"], record["shown"], record.get("attempt", 0), record["progress"])
