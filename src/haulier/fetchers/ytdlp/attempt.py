"""One run of yt-dlp inside a workplace: watch what it does, and find what it has made."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

from haulier._threads.log import Log
from haulier.errors import PermanentError
from haulier.fetchers.faults import FetchError
from haulier.fetchers.filenames import safe_filename
from haulier.fetchers.pace import Pace
from haulier.fetchers.sockets import SLICE_S
from haulier.fetchers.speed import Slowness
from haulier.fetchers.ytdlp.secrets import Secrets
from haulier.fetchers.ytdlp.workplace import Workplace
from haulier.fetchers.ytdlp.ydl import SLOT, Ydl
from haulier.transfer import Transfer

__all__ = ["Attempt", "Made"]

_LOG: Final = Log("haulier.fetchers.ytdlp")
_NOT_DONE: Final = (".part", ".ytdl", ".temp", "-Frag")
_NEVER: Final = Event()


class Made(NamedTuple):
    """One medium that is complete."""

    path: Path
    """The file itself, in a folder of its own in the workplace."""
    beside: list[Path]
    """Files that belong to the medium, such as subtitles: the same stem, other suffixes."""
    title: str
    """The name of the file without its suffix, made safe."""


class Attempt:
    """Runs yt-dlp with ``run``. ``look`` (see ``Order.look``) is called before the first byte, and may raise."""

    def __init__(
        self,
        workplace: Workplace,
        transfer: Transfer,
        secrets: Secrets,
        look: Callable[..., None],
        *,
        pace: Pace | None,
        slowness: Slowness,
        max_size: int | None,
        template: str | None,
        site_is_known: bool,
    ) -> None:
        self.path = workplace.path
        """Where yt-dlp may write."""
        self.is_list = False
        self.list_title = ""
        """The title of the list, made safe; empty if it is not a list."""
        self.refusal: Any = None
        """The last answer that was a refusal: yt-dlp's ``HTTPError``."""
        self._workplace = workplace
        self._transfer = transfer
        self._secrets = secrets
        self._look = look
        self._pace = pace
        self._slowness = slowness
        self._max_size = max_size
        self._template = template
        self._site_is_known = site_is_known
        self._titles: dict[str, str] = {}
        self._before = 0
        """Bytes of the media before this one."""
        self._here: dict[str, int] = {}
        """Bytes of each file of this one."""
        self._expected: int | None = None

    def run(self, url: str, params: Mapping[str, Any]) -> list[Made]:
        """Fetch ``url``, and return what was made. Raises whatever yt-dlp raises."""
        ours = {
            "logger": _Log(self._secrets),
            "progress_hooks": [self._progress],
            "postprocessor_hooks": [self._processing],
        }
        self._slowness.begin()
        with Ydl({**params, **ours}, self) as ydl:
            return [self._made(each) for each in _downloads(ydl.extract_info(url))]

    def check(self) -> None:
        """Raise ``DownloadCancelled`` if the result is no longer wanted, ``TooSlow`` if the site is too slow."""
        self._transfer.raise_if_cancelled()
        self._slowness.check()

    def begin_list(self, title: str) -> None:
        """Note that yt-dlp has found a list. It has not read its entries yet."""
        if not self.is_list:  # else one in another
            self.is_list = True
            self.list_title = safe_filename(self._secrets.hide(title)) or "list"
            self._transfer.cell["name"] = self.list_title
            self._look(self.list_title, "", unmistakable=False)

    def begin(self, ydl: Ydl, info: dict[str, Any]) -> None:
        """Give the medium that yt-dlp is about to download a folder of its own."""
        self.check()
        title = self._title(ydl, info)
        formats = info.get("requested_formats") or [info]
        about = [info.get("timestamp"), info.get("duration")]
        about += [[each.get(key) for key in ("format_id", "ext", "filesize", "tbr")] for each in formats]
        fingerprint = _hash(about)
        if not self.is_list:
            self._look(title, fingerprint, unmistakable=self._site_is_known and self._template is None)
            self._transfer.cell["name"] = title
        slot = base = _hash([info.get(key) for key in ("extractor_key", "id", "webpage_url", "original_url")])[:16]
        while slot in self._titles:  # a list may name one page several times
            slot = f"{base}-{len(self._titles)}"
        self._titles[slot] = title
        info[SLOT] = slot
        # For an unknown page only its date shows whether a partial file belongs to the same content.
        self._workplace.expect(slot, fingerprint, goes_on=self._site_is_known or info.get("timestamp") is not None)
        sizes = [each.get("filesize") or each.get("filesize_approx") for each in formats]
        self._expected = sum(sizes) if all(sizes) else None
        self._before += sum(self._here.values())
        self._here = {}

    def _title(self, ydl: Ydl, info: Mapping[str, Any]) -> str:
        template = self._template or ("%(title)s [%(id)s]" if self._site_is_known else "%(title)s")
        return safe_filename(self._secrets.hide(str(ydl.evaluate_outtmpl(template, dict(info))))) or "media"

    def _progress(self, status: Mapping[str, Any]) -> None:
        """Report progress. yt-dlp calls this as bytes of a file arrive."""
        self.check()
        name = str(status.get("filename") or "")
        whole = status.get("total_bytes")
        count = int(status.get("downloaded_bytes") or (whole if status["status"] == "finished" else 0) or 0)
        new = count - self._here.get(name, 0)
        self._here[name] = count
        self._slowness.received(max(0, new))
        if status["status"] == "finished":
            self._slowness.body_ends()
        here = sum(self._here.values())
        most = max(here, int(whole or 0))
        if self._max_size is not None and most > self._max_size:
            raise PermanentError(f"it has {most:,} bytes, and max_size is {self._max_size:,}")
        self._transfer.progress(self._before + here, self._size(status, whole, here))
        if self._pace is not None and new > 0 and status["status"] == "downloading":
            self._rest(self._pace.spend(new))

    def _size(self, status: Mapping[str, Any], whole: int | None, here: int) -> int | None:
        if self.is_list:
            return None
        if len(self._here) == 1 and self._expected is None:
            guess = whole or status.get("total_bytes_estimate")
            return int(guess) if guess else None
        return None if self._expected is None else max(self._expected, here)

    def _rest(self, seconds: float) -> None:
        self._slowness.rested(seconds)
        while seconds > 0:
            _NEVER.wait(min(seconds, SLICE_S))
            self.check()
            seconds -= SLICE_S

    def _processing(self, status: Mapping[str, Any]) -> None:
        """Report that all bytes are here. yt-dlp calls this as it converts, merges or moves them."""
        self.check()
        here = sum(self._here.values())
        if here and status["status"] == "started" and not self.is_list:
            self._transfer.progress(here, here)

    def _made(self, done: Mapping[str, Any]) -> Made:
        path = Path(str(done.get("filepath") or ""))
        folder = path.parent
        title = self._titles.get(folder.name)
        if title is None or folder.parent != self.path or path.is_symlink() or not path.is_file():
            raise FetchError("yt-dlp left no file in the folder that it was given")
        beside = sorted(
            each
            for each in folder.iterdir()
            if each != path and each.is_file() and not any(sign in each.name for sign in _NOT_DONE)
        )
        return Made(path, beside, title)


class _Log:
    """Takes what yt-dlp would print. What it calls an error is raised as well."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def debug(self, message: str) -> None:
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("%s", self._secrets.hide(message))

    info = error = debug

    def warning(self, message: str) -> None:
        _LOG.info("%s", self._secrets.hide(message))


def _hash(about: list[Any]) -> str:
    return hashlib.sha256(repr(about).encode("utf-8", "replace")).hexdigest()


def _downloads(info: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return what was downloaded, in order, whether ``info`` is of one medium or of a list of lists."""
    if not info:
        return []
    if "entries" in info:
        return [each for entry in info["entries"] or [] for each in _downloads(entry)]
    return list(info.get("requested_downloads") or [])
