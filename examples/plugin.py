"""A plugin: a source with a policy, an impl, retries, progress and a pause that the site asks for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import tenacity

import haulier

FOLDER = Path(tempfile.mkdtemp())


class Site:
    """Stand in for a site on the internet that fails now and then."""

    def __init__(self) -> None:
        self.moods: dict[str, list[Exception]] = {
            "song-1": [ConnectionError("reset by peer")],
            "song-2": [haulier.Throttled(retry_after=0.3)],
            "song-3": [haulier.PermanentError("not available in your country")],
        }

    def get(self, target_id: str) -> Iterator[bytes]:
        """Yield the file in chunks, or raise the next error that the site has for the file."""
        if self.moods.get(target_id):
            raise self.moods[target_id].pop()
        for _ in range(32):
            yield bytes(2048)


class Plugin:
    """Register a source for the site, and download songs from it."""

    policy = haulier.SourcePolicy(
        delay=0.2,
        jitter=(0.5, 1.5),
        timeout=60.0,
        stall_timeout=20.0,
        retry=haulier.RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.1)),
        username="song_site",
        thread_name="song-{target_id}",
        record_fields={"song_id": "target_id", "title": "display_name", "album": None},
    )

    def __init__(self, engine: haulier.DownloadEngine) -> None:
        self.engine = engine
        self.site = Site()
        engine.register_source("songs", self.policy, self.fetch)

    def order(self, song_id: str, title: str) -> str:
        """Queue a song and return the id of its download."""
        return self.engine.worker.dispatch("songs", song_id, title, f"{title}.flac", extra_record_fields={"album": "?"})

    def fetch(self, transfer: haulier.Transfer) -> str:
        """Fetch one song. The exception that it raises decides: retry, fail for good, or pause the site."""
        path = FOLDER / transfer.filename
        with path.open("wb") as file:
            for chunk in self.site.get(transfer.target_id):
                transfer.raise_if_cancelled()
                file.write(chunk)
                transfer.progress(file.tell(), 32 * 2048)
        return str(path)


with haulier.DownloadEngine() as engine:
    plugin = Plugin(engine)
    ids = [plugin.order(f"song-{n}", f"Song {n}") for n in range(4)]
    print("the last one waits for:", engine.explain(ids[-1])["reason"])
    for record in engine.as_completed(ids, timeout=30):
        print(f"{record['title']}: {record['state']} (attempt {record['attempt']}, error {record.get('error')})")
    print("failed:", engine.stats()["songs"]["failed"])
