"""The five hosts of the demo: their files, their limits and their faults."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

__all__ = ["HOSTS", "Host", "content"]


@dataclass(frozen=True)
class Host:
    """A host of the demo. Files are numbered from 1. A ``share`` is a part of the length of the demo."""

    name: str
    file: str
    """The name of a file, with ``{}`` for its number."""
    files: int
    size_bytes: int
    share: float
    """How long one file takes."""
    concurrency: int = 1
    delay_share: float = 0.0
    pauses: tuple[int, ...] = ()
    """The files whose first request is refused with 429."""
    breaks: tuple[int, ...] = ()
    """The files whose first connection is closed in the middle."""
    crashes: tuple[int, ...] = ()
    """The files at which the plugin crashes."""

    def file_name(self, number: int) -> str:
        """The name of the file with that number."""
        return self.file.format(f"{number:02}")

    @property
    def file_names(self) -> list[str]:
        """The names of all files of the host, in order."""
        return [self.file_name(number) for number in range(1, self.files + 1)]


HOSTS: Final = (
    Host("fast.example", "album-{}.flac", 12, 3_000_000, 0.20, concurrency=3),
    Host("slow.example", "archive-{}.zip", 3, 150_000, 0.28),
    Host("busy.example", "photo-{}.jpg", 5, 600_000, 0.09, delay_share=0.035, pauses=(2, 4)),
    Host("flaky.example", "lecture-{}.mp4", 6, 800_000, 0.16, concurrency=2, breaks=(2, 5)),
    Host("buggy.example", "track-{}.ogg", 6, 400_000, 0.11, crashes=(2, 5)),
)


def content(host: Host, name: str) -> bytes:
    """The content of a file: random bytes, the same in every run."""
    return Random(f"{host.name}/{name}").randbytes(host.size_bytes)
