"""Before the downloads start: print the plan for ``--dry-run``, and raise the limit of open files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from haulier._cli.display.text import plain
from haulier._cli.get.places import Place
from haulier._cli.get.planned import PlannedDownload
from haulier._cli.get.settings import SourceSettings
from haulier._cli.outlet import Outlet

__all__ = ["dry_run", "raise_file_limit"]


def dry_run(
    planned: Sequence[PlannedDownload],
    place: Place,
    settings: Mapping[str, SourceSettings],
    outlet: Outlet,
    *,
    as_json: bool,
) -> int:
    """Print where each file would go, and the settings of each source. Returns the exit status."""
    for source, request, shown, _, is_medium in planned:
        path = os.path.join(place.folder, request.name) if request.name.rpartition("/")[2] else None
        if as_json:
            line = {"event": "planned", "source": source, "url": shown, "path": path, "checksum": request.checksum}
            line["with"] = "ytdlp" if is_medium else "http"
            outlet.line(json.dumps({**line, "manners": asdict(settings[source])}))
            continue
        named = f"(the {'site' if is_medium else 'server'} names it)"
        path = path and path + (" (plus a suffix)" if is_medium else "")
        where = path or os.path.join(place.folder, request.name + named)
        outlet.line(plain(f"{shown} -> {where}"))
    if not as_json:
        for source, each in sorted(settings.items()):
            outlet.line(plain(f"{source}: {sum(one.source == source for one in planned):,} planned; {each}"))
    return int(outlet.is_broken)


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit: each host needs about two."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
