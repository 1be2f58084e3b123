"""yt-dlp itself, confined to its workplace."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from yt_dlp import YoutubeDL
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.postprocessor.common import PostProcessor

if TYPE_CHECKING:
    from haulier.fetchers.ytdlp.attempt import Attempt

__all__ = ["FORBIDDEN", "SLOT", "Ydl"]

SLOT: Final = "haulier_slot"
"""The key in yt-dlp's info of a medium that names its folder in the workplace."""

_BLOCK_BYTES: Final = 16 * 1024
"""The most bytes to read at once. A cancel is noticed between two reads."""

_FIXED: Final[dict[str, Any]] = {
    "outtmpl": {"default": f"%({SLOT})s/media.%(ext)s"},
    # A failure ends the attempt: the engine retries, with its own pauses.
    "ignoreerrors": False,
    "retries": 0,
    "fragment_retries": 0,
    "extractor_retries": 0,
    "skip_unavailable_fragments": False,
    "overwrites": False,
    "nopart": False,
    "noprogress": True,
    "quiet": True,
    "color": {"stdout": "no_color", "stderr": "no_color"},
}

FORBIDDEN: Final = frozenset(_FIXED.keys() - {"outtmpl"}) | {
    "paths", "logger", "progress_hooks", "postprocessor_hooks", "post_hooks", "match_filter", "simulate",
    "skip_download", "extract_flat", "download_archive", "max_downloads", "max_filesize", "min_filesize", "exec_cmd",
    "nocheckcertificate", "keepvideo", "keep_fragments", "write_pages", "print_to_file", "forceprint", "forcejson",
    "dump_single_json", "cookiefile", "windowsfilenames", "restrictfilenames", "trim_file_name", "listformats",
    "listsubtitles", "list_thumbnails", "ignore_no_formats_error", "break_on_existing", "break_on_reject",
}  # fmt: skip
"""Options that the fetcher sets itself, or that would break what it promises."""


class Ydl(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """Looks at the transfer before each request and each read, and remembers what was refused."""

    def __init__(self, params: dict[str, Any], attempt: Attempt) -> None:
        self._attempt = attempt
        self._responses: list[Any] = []
        self._pools: set[Any] = set()
        super().__init__({"cachedir": False, **params, **_FIXED})
        self.add_post_processor(_Gate(attempt), when="video")

    def __exit__(self, *exc_info: Any) -> None:
        self._close_responses()
        super().__exit__(*exc_info)

    def get_output_path(self, dir_type: str = "", filename: str | None = None) -> str:
        """Return a path inside the workplace: yt-dlp would expand '$' and '~' in it."""
        return os.path.join(self._attempt.path, filename or "")

    def process_ie_result(self, ie_result: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell the attempt when the result is a list."""
        if ie_result.get("_type") in ("playlist", "multi_video"):
            self._attempt.begin_list(str(ie_result.get("title") or ie_result.get("id") or ""))
        return super().process_ie_result(ie_result, *args, **kwargs)

    def urlopen(self, req: Any) -> Any:
        """Send the request, unless the download was cancelled."""
        attempt = self._attempt
        attempt.check()
        try:
            response = super().urlopen(req)
        except HTTPError as refusal:
            attempt.refusal = refusal
            self._responses.append(refusal)
            raise
        self._pools.add(getattr(response.fp, "_pool", None))
        read = response.read

        def read_a_little(amt: int | None = None) -> Any:
            attempt.check()
            return read(amt if amt is None else min(amt, _BLOCK_BYTES))

        response.read = read_a_little
        self._responses = [each for each in self._responses if not getattr(each, "closed", False)]
        self._responses.append(response)
        return response

    def _close_responses(self) -> None:
        """Close what yt-dlp, and urllib3 under it, would leave to the garbage collector."""
        for each in (*self._responses, *self._pools - {None}):
            with suppress(Exception):
                each.close()
        self._responses.clear()
        self._pools.clear()


class _Gate(PostProcessor):  # type: ignore[misc]  # yt-dlp has no types
    """Runs after yt-dlp has chosen the formats, and before it writes a file."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self._attempt = attempt

    @classmethod
    def pp_key(cls) -> str:
        return "Gate"

    def run(self, information: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        self._attempt.begin(self._downloader, information)
        return [], information
