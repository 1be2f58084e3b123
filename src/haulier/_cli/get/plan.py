"""Before anything is downloaded: what would go where, and room for many connections."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from haulier._cli.display.text import plain
from haulier._cli.get.places import Place
from haulier._cli.get.settings import Manners
from haulier._cli.get.wanted import Wanted
from haulier._cli.outlet import Outlet

__all__ = ["dry_run", "raise_file_limit"]


def dry_run(
    wanted: Sequence[Wanted], place: Place, manners: Mapping[str, Manners], outlet: Outlet, *, as_json: bool
) -> int:
    """Print what would go where and under which settings. Returns the exit status."""
    for source, request, shown, _, is_medium in wanted:
        path = os.path.join(place.folder, request.name) if request.name.rpartition("/")[2] else None
        if as_json:
            line = {"event": "planned", "source": source, "url": shown, "path": path, "checksum": request.checksum}
            line["with"] = "ytdlp" if is_medium else "http"
            outlet.line(json.dumps({**line, "manners": asdict(manners[source])}))
            continue
        named = f"(as its {'site' if is_medium else 'server'} calls it)"
        path = path and path + (" (and the suffix that fits)" if is_medium else "")
        where = path or os.path.join(place.folder, request.name + named)
        outlet.line(plain(f"{shown} -> {where}"))
    if not as_json:
        for source, each in sorted(manners.items()):
            outlet.line(plain(f"{source}: {sum(one.source == source for one in wanted):,} of them; {each}"))
    return int(outlet.is_broken)


def raise_file_limit() -> None:
    """Let this process open as many files as it may: a list of a thousand hosts needs two for each."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
