"""One run of yt-dlp inside a workplace: what it may do is watched, what it has made is found."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

from yt_dlp import YoutubeDL
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.postprocessor.common import PostProcessor

from haulier.errors import PermanentError
from haulier.fetchers.faults import FetchError
from haulier.fetchers.filenames import safe_filename
from haulier.fetchers.pace import Pace
from haulier.fetchers.sockets import SLICE_S
from haulier.fetchers.ytdlp.faults import text_of
from haulier.fetchers.ytdlp.sites import knows
from haulier.fetchers.ytdlp.workplace import Workplace
from haulier.transfer import Transfer

__all__ = ["Attempt", "Made"]

_LOG: Final = logging.getLogger("haulier.fetchers.ytdlp")
_STEM: Final = "%(extractor_key)s-%(id).80B-%(format_id).40B"
_NOT_DONE: Final = (".part", ".ytdl", ".temp")
_BLOCK_BYTES: Final = 16 * 1024
"""What is read at once, at most: a cancel is seen in between."""

_NEVER: Final = Event()


class Made(NamedTuple):
    """One medium that is complete."""

    path: Path
    """The file itself, in the workplace."""
    stem: str
    """Its name without its suffixes."""
    beside: list[Path]
    """What belongs to it, such as subtitles: the same stem, other suffixes."""
    title: str
    """What the file is to be called without its suffix. Safe."""


class Attempt:
    """Give it to yt-dlp with ``run``. ``look`` (see ``Order.look``) is called before the first byte, and may raise.

    The title is the safe name of what is to come: of the medium, or of the list that it is in.
    """

    def __init__(
        self,
        workplace: Workplace,
        transfer: Transfer,
        pace: Pace | None,
        max_size: int | None,
        template: str | None,
        look: Callable[..., None],
    ) -> None:
        self._workplace = workplace
        self._transfer = transfer
        self._pace = pace
        self._max_size = max_size
        self._template = template
        self._look = look
        self._titles: dict[str, str] = {}
        self._here: dict[str, int] = {}
        self._expected: int | None = None
        self._site_is_known = False
        self.list_title = ""
        """The title of the list, where it is one."""
        self.refusal: HTTPError | None = None
        """The last answer that was a refusal."""

    def run(self, url: str, params: Mapping[str, Any]) -> list[Made]:
        """Fetch ``url``, and say what was made. Raises whatever yt-dlp raises."""
        self._site_is_known = knows(url)
        ours = {
            "paths": {"home": str(self._workplace.path)},
            "outtmpl": {"default": f"{_STEM}.%(ext)s"},
            "logger": _Log(),
            "progress_hooks": [self._progress],
            "postprocessor_hooks": [self._processing],
            # A failure ends the attempt and is told: the engine tries again, with its own pauses.
            "ignoreerrors": False,
            "retries": 0,
            "fragment_retries": 0,
            "extractor_retries": 0,
            "skip_unavailable_fragments": False,
            "overwrites": False,
            "noprogress": True,
            "quiet": True,
            "color": {"stdout": "no_color", "stderr": "no_color"},
        }
        with _Ydl({**params, **ours}) as ydl, ExitStack() as exits:
            ydl.attempt = self
            exits.callback(ydl.close_responses)
            ydl.add_post_processor(_Gate(self), when="before_dl")
            return [self._made(each) for each in _downloads(ydl.extract_info(url))]

    def check(self) -> None:
        """Raise ``DownloadCancelled`` if the result is no longer wanted."""
        self._transfer.raise_if_cancelled()

    def begin(self, ydl: YoutubeDL, info: Mapping[str, Any]) -> None:
        """yt-dlp knows what it will download, and has not begun."""
        self.check()
        title = self._title(ydl, info)
        formats = info.get("requested_formats") or [info]
        about = [info.get("timestamp"), info.get("duration")]
        about += [[each.get(key) for key in ("format_id", "ext", "filesize", "tbr")] for each in formats]
        fingerprint = hashlib.sha256(repr(about).encode()).hexdigest()
        if info.get("playlist") and (info.get("n_entries") or 1) > 1:
            self.list_title = safe_filename(str(info["playlist"])) or "list"
            self._look(self.list_title, "", unmistakable=False)
        else:
            self._look(title, fingerprint, unmistakable=self._site_is_known and self._template is None)
            self._transfer.cell["name"] = title
            sizes = [each.get("filesize") or each.get("filesize_approx") for each in formats]
            self._expected = sum(sizes) if all(sizes) else None
        stem = Path(ydl.prepare_filename(info)).name.removesuffix(f".{info['ext']}")
        self._titles[stem] = title
        self._workplace.expect(stem, fingerprint)
        self._workplace.keep()

    def _title(self, ydl: YoutubeDL, info: Mapping[str, Any]) -> str:
        template = self._template or ("%(title)s [%(id)s]" if self._site_is_known else "%(title)s")
        return safe_filename(ydl.evaluate_outtmpl(template, dict(info))) or "media"

    def _progress(self, status: Mapping[str, Any]) -> None:
        """yt-dlp's hook: so many bytes of a file are here."""
        self.check()
        name = str(status.get("filename") or "")
        whole = status.get("total_bytes")
        count = int(status.get("downloaded_bytes") or (whole if status["status"] == "finished" else 0) or 0)
        new = count - self._here.get(name, 0)
        self._here[name] = count
        here = sum(self._here.values())
        size = self._size(status, whole, len(self._here))
        most = max(here, int(whole or 0))
        if self._max_size is not None and most > self._max_size:
            self._workplace.discard()
            raise PermanentError(f"it has {most:,} bytes, and max_size is {self._max_size:,}")
        self._transfer.progress(here, size)
        if self._pace is not None and new > 0 and status["status"] == "downloading":
            self._rest(self._pace.spend(new))

    def _size(self, status: Mapping[str, Any], whole: int | None, files: int) -> int | None:
        if self.list_title:
            return None
        if files == 1 and self._expected is None:
            guess = whole or status.get("total_bytes_estimate")
            return int(guess) if guess else None
        return None if self._expected is None else max(self._expected, sum(self._here.values()))

    def _rest(self, seconds: float) -> None:
        while seconds > 0:
            _NEVER.wait(min(seconds, SLICE_S))
            self.check()
            seconds -= SLICE_S

    def _processing(self, status: Mapping[str, Any]) -> None:
        """yt-dlp's hook: what is here is converted, merged or moved. All bytes are here."""
        self.check()
        if status["status"] == "started" and status["postprocessor"] not in ("Gate", "MoveFiles"):
            here = sum(self._here.values())
            self._transfer.progress(here, here if not self.list_title else None)

    def _made(self, done: Mapping[str, Any]) -> Made:
        path = Path(str(done.get("filepath") or ""))
        if path.parent != self._workplace.path or path.is_symlink() or not path.is_file():
            raise FetchError("yt-dlp has left no file where it was told to")
        stem = next((each for each in self._titles if path.name.startswith(f"{each}.")), None)
        if stem is None:
            raise FetchError("yt-dlp has left a file that it did not announce")
        beside = [each for each in self._workplace.files(stem) if each != path and each.suffix not in _NOT_DONE]
        return Made(path, stem, beside, self._titles[stem])


class _Ydl(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """Looks at the transfer before each request and each read, and remembers what was refused."""

    attempt: Attempt | None = None

    def __init__(self, params: dict[str, Any]) -> None:
        self._responses: list[Any] = []
        self._pools: set[Any] = set()
        super().__init__(params)

    def urlopen(self, req: Any) -> Any:
        attempt = self.attempt
        if attempt is None:
            return super().urlopen(req)
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

    def close_responses(self) -> None:
        """Close what yt-dlp, and urllib3 under it, would leave to the garbage collector."""
        for each in (*self._responses, *self._pools - {None}):
            with suppress(Exception):
                each.close()
        self._responses.clear()
        self._pools.clear()


class _Gate(PostProcessor):  # type: ignore[misc]  # the same
    """Where yt-dlp has chosen the formats, and not begun."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self._attempt = attempt

    @classmethod
    def pp_key(cls) -> str:
        return "Gate"

    def run(self, information: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        self._attempt.begin(self._downloader, information)
        return [], information


class _Log:
    """Takes what yt-dlp would print. What it calls an error is raised as well."""

    def debug(self, message: str) -> None:
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("%s", text_of(message))

    info = error = debug

    def warning(self, message: str) -> None:
        _LOG.info("%s", text_of(message))


def _downloads(info: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """What was downloaded, in order, whether ``info`` is of one medium or of a list of lists."""
    if not info:
        return []
    if "entries" in info:
        return [each for entry in info["entries"] or [] for each in _downloads(entry)]
    return list(info.get("requested_downloads") or [])
