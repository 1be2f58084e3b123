"""Ready-made policies for the six sources that the engine was first made for.

::

    presets.youtube.register(engine, impl=fetch)
    presets.qobuz.register(engine, delay=2.5, retry=RetryPolicy(stop=stop_after_attempt(3)))

Arguments of ``dispatch`` take precedence: ``extra_record_fields``, ``username_override`` and ``thread_name``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from haulier._engine.ticket import Impl
from haulier.policies import SourcePolicy

__all__ = ["BY_NAME", "Preset", "deezer", "hifi", "qobuz", "soundcloud", "tidal", "youtube"]

T_co = TypeVar("T_co", covariant=True)


class Registers(Protocol[T_co]):
    """An engine: ``haulier.DownloadEngine`` or ``haulier.aio.DownloadEngine``."""

    def register_source(
        self, name: str, policy: SourcePolicy | None = ..., impl: Impl | None = ..., aliases: tuple[str, ...] = ...
    ) -> T_co:
        """Give a source a policy, an impl and aliases."""
        ...


@dataclass(frozen=True)
class Preset:
    """A source's name, policy and aliases."""

    name: str
    policy: SourcePolicy
    aliases: tuple[str, ...] = ()

    def register(self, engine: Registers[T_co], impl: Impl | None = None, **policy_changes: Any) -> T_co:
        """Register the source with ``engine``. ``policy_changes`` replace fields of the preset's ``SourcePolicy``.

        Raises what ``SourcePolicy`` raises for an invalid field. Await the result if the engine is ``haulier.aio``'s.
        """
        return engine.register_source(self.name, replace(self.policy, **policy_changes), impl, self.aliases)


_TRACK: Final = {"track_id": "target_id", "display_name": "display_name"}

youtube: Final = Preset(
    "youtube",
    SourcePolicy(delay=3.0, record_fields={"video_id": "target_id", "url": None, "title": "display_name"}),
)
tidal: Final = Preset("tidal", SourcePolicy(record_fields=_TRACK))
qobuz: Final = Preset("qobuz", SourcePolicy(delay=1.0, record_fields=_TRACK))
hifi: Final = Preset("hifi", SourcePolicy(record_fields=_TRACK))
deezer: Final = Preset(
    "deezer",
    SourcePolicy(
        username="deezer_dl",
        thread_name="deezer-dl-{target_id}",
        record_fields={**_TRACK, "size": None, "error": None},  # every record has a size, but no error until it fails
    ),
    aliases=("deezer_dl",),
)
soundcloud: Final = Preset("soundcloud", SourcePolicy(record_fields={**_TRACK, "permalink_url": None}))

BY_NAME: Final[Mapping[str, Preset]] = MappingProxyType(
    {preset.name: preset for preset in (youtube, tidal, qobuz, hifi, deezer, soundcloud)}
)
