"""The shortest program: an engine, an impl, one download."""

import tempfile
from pathlib import Path

import haulier

folder = Path(tempfile.mkdtemp())


def fetch(download_id: str, target_id: str, display_name: str) -> str:
    """Block until the file is there, and return its path. Here: a call to your client library."""
    path = folder / f"{target_id}.txt"
    path.write_text(f"{display_name}\n")
    return str(path)


with haulier.DownloadEngine() as engine:
    engine.worker.set_delay("example", 0.2)  # seconds between two downloads of this source, out of politeness
    ids = [engine.worker.dispatch("example", n, f"File {n}", f"{n}.txt", fetch) for n in range(3)]
    for record in engine.as_completed(ids):
        print(record["state"], record["file_path"])
