"""The six sources that the engine was first made for start with the right manners."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import haulier
from haulier import aio, presets

if TYPE_CHECKING:
    from tests.waiting import Gatekeeper

TRACK = {"track_id": "t-1", "display_name": "A song"}
EXPECTED: dict[str, tuple[float, str, dict[str, Any]]] = {
    "youtube": (3.0, "youtube", {"video_id": "t-1", "url": None, "title": "A song"}),
    "tidal": (0.0, "tidal", TRACK),
    "qobuz": (1.0, "qobuz", TRACK),
    "hifi": (0.0, "hifi", TRACK),
    "deezer": (0.0, "deezer_dl", {**TRACK, "size": 0, "error": None}),
    "soundcloud": (0.0, "soundcloud", {**TRACK, "permalink_url": None}),
}


def test_they_are_known_by_name() -> None:
    assert set(presets.BY_NAME) == set(EXPECTED)
    for name, preset in presets.BY_NAME.items():
        assert preset is getattr(presets, name)
        assert preset.name == name


@pytest.mark.parametrize("name", EXPECTED)
def test_manners(engine: haulier.DownloadEngine, gatekeeper: Gatekeeper, name: str) -> None:
    delay, username, fields = EXPECTED[name]
    presets.BY_NAME[name].register(engine, gatekeeper)
    download_id = engine.worker.dispatch(name, "t-1", "A song", "song.flac")
    gatekeeper.wait_inside()
    record = engine.get_record(name, download_id)
    assert record is not None
    assert record["username"] == username
    assert {key: record[key] for key in fields} == fields
    assert set(record) - set(fields) - haulier.records.FIRST_KEYS == set()
    assert (gatekeeper.threads[0] == "deezer-dl-t-1") == (name == "deezer")
    stats = engine.stats()[name]
    assert (stats["concurrency"], stats["delay"]) == (1, delay)
    gatekeeper.open()
    ended = engine.wait(download_id, 10)
    assert (ended["state"], ended["username"]) == ("Completed, Succeeded", username)
    assert {key: ended[key] for key in fields} == fields


def test_deezer_answers_to_its_username(engine: haulier.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    presets.deezer.register(engine, gatekeeper)
    ids = [engine.worker.dispatch(name, "t-1", "A song", "song.flac") for name in ("deezer", "deezer_dl")]
    gatekeeper.wait_inside()
    assert [record["id"] for record in engine.iter_records_for_source("deezer_dl")] == ids
    assert engine.cancel_download(ids[1], source_hint="deezer_dl")
    assert list(engine.stats()) == ["deezer"]
    gatekeeper.open()
    engine.wait(ids[0], 10)
    assert (gatekeeper.peak, gatekeeper.ids) == (1, ids[:1])


def test_what_a_plugin_passes_itself_wins(engine: haulier.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    presets.deezer.register(engine)
    download_id = engine.worker.dispatch(
        "deezer",
        "t-1",
        "A song",
        "song.flac",
        gatekeeper,
        extra_record_fields={"track_id": 1, "size": 7, "album": "An album"},
        username_override="me",
        thread_name="my-thread",
    )
    gatekeeper.wait_inside()
    record = engine.get_record("deezer", download_id)
    assert record is not None
    wanted = {"track_id": 1, "display_name": "A song", "size": 7, "album": "An album", "username": "me", "error": None}
    assert {key: record[key] for key in wanted} == wanted
    assert gatekeeper.threads == ["my-thread"]


@pytest.mark.expect_errors(r"Failed: .* at deezer \[ValueError\('gone'\)\]")
def test_error_is_there_before_it_fails(engine: haulier.DownloadEngine) -> None:
    seen: list[Any] = []

    def impl(download_id: str, target_id: str, display_name: str) -> str:
        record = engine.get_record("deezer", download_id)
        assert record is not None
        seen.append(record["error"])
        raise ValueError("gone")

    presets.deezer.register(engine, impl)
    record = engine.wait(engine.worker.dispatch("deezer", "t-1", "A song", "song.flac"), 10)
    assert (seen, record["error"]) == ([None], "gone")


def test_the_policy_can_be_changed_where_it_is_registered(engine: haulier.DownloadEngine) -> None:
    presets.youtube.register(engine, delay=0.5, concurrency=2)
    assert engine.stats()["youtube"]["delay"] == 0.5
    assert engine.stats()["youtube"]["concurrency"] == 2
    assert presets.youtube.policy.delay == 3.0
    presets.youtube.register(engine)
    assert engine.stats()["youtube"]["delay"] == 3.0
    with pytest.raises(TypeError):
        presets.youtube.register(engine, no_such_field=1)


def test_with_the_engine_for_asyncio(gatekeeper: Gatekeeper) -> None:
    async def main() -> None:
        async with aio.DownloadEngine() as engine:
            await presets.deezer.register(engine, gatekeeper)
            gatekeeper.open()
            record = await engine.wait(await engine.worker.dispatch("deezer_dl", "t-1", "A song", "song.flac"), 10)
            assert (record["source"], record["username"]) == ("deezer", "deezer_dl")

    asyncio.run(main())
