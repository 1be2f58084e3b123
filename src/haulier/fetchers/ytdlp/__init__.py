"""Downloads from the sites that yt-dlp knows: an impl ready to use. Needs ``pip install 'haulier[ytdlp]'``.

::

    from haulier.fetchers.ytdlp import YtDlpFetcher

    haulier.presets.youtube.register(engine, impl=YtDlpFetcher("music", options={"format": "bestaudio"}))
    engine.worker.dispatch("youtube", "https://www.youtube.com/watch?v=…", "A song", "")
"""

from __future__ import annotations

try:
    from yt_dlp import YoutubeDL  # first, to say what is missing, where it is
except ImportError as exc:
    raise ImportError("haulier.fetchers.ytdlp needs yt-dlp: pip install 'haulier[ytdlp]'") from exc

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from haulier.errors import HaulierError, PermanentError, Throttled
from haulier.fetchers.access import Cookies, checked_proxy
from haulier.fetchers.destination import Overwrite, checked_overwrite, folder_for
from haulier.fetchers.faults import FetchError
from haulier.fetchers.filenames import safe_filename, safe_path
from haulier.fetchers.origin import key_of
from haulier.fetchers.pace import Pace
from haulier.fetchers.pauses import forget_pauses, pause_or_no
from haulier.fetchers.request import Request
from haulier.fetchers.speed import Slowness, checked_min_speed
from haulier.fetchers.sums import Expected, Sums
from haulier.fetchers.texts import read_text
from haulier.fetchers.tries import count_try
from haulier.fetchers.urls import Target
from haulier.fetchers.ytdlp.attempt import Attempt
from haulier.fetchers.ytdlp.faults import sorted_fault
from haulier.fetchers.ytdlp.order import AlreadyThere, Order
from haulier.fetchers.ytdlp.secrets import Secrets
from haulier.fetchers.ytdlp.sites import knows, page_of, site_of
from haulier.fetchers.ytdlp.workplace import Workplace
from haulier.fetchers.ytdlp.ydl import FORBIDDEN
from haulier.policies import check_int, check_seconds
from haulier.transfer import Transfer

__all__ = ["FetchError", "Request", "YtDlpFetcher", "knows", "site_of"]

ALREADY_THERE: Final = "already_there"
"""The record's key that says that nothing had to be fetched."""

_FOR_ANY_SITE: Final = frozenset({"accept", "accept-language", "referer", "user-agent"})


class YtDlpFetcher:
    """Downloads the media of a web page with yt-dlp, into the folder ``dest``.

    ``target_id`` is the URL of the page, or a ``Request``.

    - ``options``: yt-dlp's own options (https://github.com/yt-dlp/yt-dlp#embedding-yt-dlp), e.g.
      ``{"format": "bestaudio"}`` or ``{"writesubtitles": True}``. ``outtmpl``, a str, names the file, without folder
      and suffix. Its default is ``%(title)s [%(id)s]``, and ``%(title)s`` for pages of unknown sites.
    - ``timeout``: seconds without a byte. ``proxy``, ``cookies``, ``netrc``, ``limit_rate``, ``max_size``,
      ``min_speed``, ``max_time``, ``checksums``: as for ``HttpFetcher``. Each medium of a list is looked up in
      ``checksums``.
    - ``headers``: only Accept, Accept-Language, Referer and User-Agent are sent, to every host that the site needs.
    - ``overwrite``: ``'never'`` keeps what exists of this page and counts it as fetched. ``'changed'`` downloads it
      again if the site has another version. ``'always'`` replaces it.

    The URL of one medium gives one file, beside further files that ``options`` ask for, and its path is returned. The
    URL of a list (an album, a channel) gives a folder, which appears when it is complete.

    The name is ``original_filename`` of the dispatch, or the name in the request, with the suffix that fits, or the
    title. Unsafe characters are replaced. yt-dlp writes only into a folder ``HOST KEY.part`` in ``dest``. The folder is
    removed at the end. After an interruption it stays for the next attempt to resume, if the site is known or the
    medium has a date. yt-dlp's cache is off; ``options={"cachedir": …}`` turns it on.

    Converting and merging (if ``ffmpeg`` is installed) are part of the download. A cancel takes effect with the next
    bytes, request or step: after ``timeout`` if the server is silent, or at the end of a conversion.

    Raises ``ValueError`` or ``TypeError``, naming the argument, and ``OSError`` if the cookie file cannot be read.
    """

    def __init__(
        self,
        dest: str | os.PathLike[str] = "downloads",
        *,
        options: Mapping[str, Any] | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
        overwrite: Overwrite | bool = "never",
        max_size: int | None = None,
        limit_rate: float | None = None,
        proxy: str | None = None,
        cookies: str | os.PathLike[str] | None = None,
        netrc: str | os.PathLike[str] | bool = False,
        checksums: Sums | None = None,
        min_speed: tuple[float, float] | None = None,
        max_time: float | None = None,
    ) -> None:
        self.dest = Path(os.path.abspath(dest))
        self.overwrite = checked_overwrite(overwrite)
        self._sums = checksums
        self._options, self._template = _checked_options(options or {})
        self._timeout_s = check_seconds("timeout", timeout, above_zero=True)
        self._headers = {key: value for key, value in (headers or {}).items() if key.lower() in _FOR_ANY_SITE}
        self._max_size = None if max_size is None else check_int("max_size", max_size, 1)
        self._pace = None if limit_rate is None else Pace(check_seconds("limit_rate", limit_rate, above_zero=True))
        self._min_speed = checked_min_speed(min_speed, limit_rate)
        self._max_time = None if max_time is None else check_seconds("max_time", max_time, above_zero=True)
        self._proxy = None if proxy is None else checked_proxy(proxy)
        self._cookies = None
        if cookies is not None:
            Cookies(cookies)  # says what is wrong with it
            self._cookies = read_text(cookies)
        self._netrc = netrc

    def __call__(self, download_id: str, target_id: object, display_name: str, transfer: Transfer) -> str:
        """Download the media, and return the path of the file or the folder.

        Raises ``PermanentError`` (private, removed, no media, wrong checksum), ``Throttled`` (429, or an error that
        says so), ``DownloadCancelled``, or ``FetchError`` where another attempt may succeed.
        """
        transfer.raise_if_cancelled()
        request = Request.of(target_id)
        host, page = Target.parse(request.url).host, page_of(request.url)
        expected = Expected(request, self._sums, transfer.cell)
        folder, _, last = request.name.replace("\\", "/").rpartition("/")
        order = Order(
            url=request.url,
            key=key_of(request.url),
            root=self.dest,
            folder=self.dest / folder_for(self.dest, safe_path(folder)),
            wanted=safe_filename(transfer.filename) or safe_filename(last),
            overwrite=self.overwrite,
        )
        with Workplace(self.dest, host, order.key) as workplace:
            secrets = Secrets(request.url, "" if page is None else page.name)
            attempt = Attempt(
                workplace,
                transfer,
                secrets,
                order.look,
                pace=self._pace,
                slowness=Slowness(self._min_speed, self._max_time),
                max_size=self._max_size,
                template=self._template,
                site_is_known=page is not None,
            )
            try:
                made = attempt.run(request.url, self._params(request))
                transfer.raise_if_cancelled()
                path = order.land(made, attempt.list_title, expected)
                workplace.discard()
                forget_pauses(transfer)
                return str(path)
            except AlreadyThere as found:
                workplace.discard()
                forget_pauses(transfer)
                return self._already(found.path, expected, transfer)
            except HaulierError as exc:
                failure: Exception = exc
            except Exception as exc:
                failure = sorted_fault(exc, attempt.refusal, secrets, str(self.dest))
            if isinstance(failure, PermanentError):
                workplace.discard()
            if isinstance(failure, Throttled):
                failure = pause_or_no(transfer, failure)
            else:
                forget_pauses(transfer)
        count_try(transfer, failure, workplace.found, workplace.kept)
        raise failure

    @staticmethod
    def _already(there: Path, expected: Expected, transfer: Transfer) -> str:
        if there.is_file():
            checksum = expected.named(there.name)
            if checksum is not None:
                checksum.verify(there, "is there already, with")
            transfer.progress(there.stat().st_size, there.stat().st_size)
        transfer.cell[ALREADY_THERE] = True
        return str(there)

    def _params(self, request: Request) -> dict[str, Any]:
        given = {key: value for key, value in request.headers.items() if key.lower() in _FOR_ANY_SITE}
        params: dict[str, Any] = {
            "noplaylist": True,  # a video in a list is the video; a list is the list
            "updatetime": True,
            "socket_timeout": self._timeout_s,
            "http_headers": {**self._headers, **given},
        }
        if self._proxy is not None:
            params["proxy"] = self._proxy
        if self._cookies is not None:
            params["cookiefile"] = io.StringIO(self._cookies)  # yt-dlp writes back into what it is given
        if self._netrc:
            params |= {"usenetrc": True, "netrc_location": None if self._netrc is True else os.fspath(self._netrc)}
        return params | self._options

    def close(self) -> None:
        """Nothing is kept open between two downloads."""

    def __enter__(self) -> YtDlpFetcher:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        return f"<YtDlpFetcher into {str(self.dest)!r}>"


def _checked_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The options without what names the file, and that. Raises ``ValueError`` or ``TypeError``."""
    rest = dict(options)
    wrong = sorted(FORBIDDEN & rest.keys())
    if wrong:
        raise ValueError(f"options: {', '.join(wrong)} cannot be set: see YtDlpFetcher's own arguments")
    template = rest.pop("outtmpl", None)
    if template is not None and not isinstance(template, str):
        raise TypeError(f"options: outtmpl must be a text, not {type(template).__name__}")
    if template is not None and YoutubeDL.validate_outtmpl(template) is not None:
        raise ValueError(f"options: outtmpl {template!r} is not a template of yt-dlp")
    return rest, template
