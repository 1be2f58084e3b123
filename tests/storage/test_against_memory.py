"""Whatever is written to a database, it says what the storage in memory says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulier._engine.storage import Attempt, Batch, Change, GateRow, Row, Storage, open_storage
from haulier._engine.storage.codec import encode
from haulier._engine.storage.memory import MemoryStorage

names = st.sampled_from(["tidal", "you\0tube", "half \udc80", "\x1a", "'é🎵"])
ids = st.sampled_from([f"d{n}" for n in range(5)])
keys = st.tuples(names, ids)
phases = st.sampled_from([None, "queued", "succeeded", "failed"])
moments = st.integers(0, 5).map(float) | st.floats(-1e12, 1e12)
texts = st.text(st.characters(), max_size=5)
records = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=3)
encoded = records.map(lambda record: encode("record", _storable(record)))


def _storable(record: dict[str, Any]) -> dict[str, Any]:
    """Without what the codec refuses: a surrogate pair as two characters."""
    return {_mended(key): _mended(value) if isinstance(value, str) else value for key, value in record.items()}


def _mended(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


changes = st.builds(
    lambda key, *rest: Change(*key, *rest), keys, phases, st.none() | moments, encoded, st.none() | encoded
)
attempts = st.builds(
    lambda key, *rest: Attempt(*key, *rest),
    keys,
    st.integers(1, 4),
    st.none() | moments,
    st.none() | moments,
    texts,
    st.none() | texts,
    st.none() | texts,
)
gates = st.builds(GateRow, names, st.none() | moments, st.none() | moments, st.booleans())

Added = list[tuple[tuple[str, str], str | None, float | None, str, str | None, str | None]]
added = st.lists(
    st.tuples(keys, phases, st.none() | moments, encoded, st.none() | encoded, st.none() | encoded), max_size=5
)
batches = st.tuples(
    added,
    st.lists(changes, max_size=3),
    st.lists(attempts, max_size=3),
    st.lists(keys, max_size=3),
    st.lists(keys, max_size=2),
    st.lists(gates, max_size=2),
)
prunes = st.tuples(st.none() | st.integers(0, 6), st.none() | moments)
steps = st.lists(batches | prunes, max_size=12)


def _compare(open_it: Callable[[], Storage], steps: list[Any], everything: Callable[[Storage], Any]) -> None:
    storage, model = open_it(), MemoryStorage()
    next_seq = 1
    try:
        for step in steps:
            if len(step) == 2:
                assert storage.prune(*step) == model.prune(*step)
            else:
                first, *rest = step
                rows = [Row._make((*key, seq, *more)) for seq, (key, *more) in enumerate(first, next_seq)]
                next_seq += len(rows)
                storage.write(Batch(rows, *rest))
                model.write(Batch(rows, *rest))
            got, expected = everything(storage), everything(model)
            assert _in_one_order(got) == _in_one_order(expected)
            for source in ("tidal", "\x1a"):
                assert storage.history(source, "failed", limit=2) == model.history(source, "failed", limit=2)
        before = everything(storage)
        storage.close()
        storage = open_it()
        assert everything(storage) == before
    finally:
        storage.close()


def _in_one_order(found: Any) -> Any:
    """Gates come in an order of the database's own."""
    rows, gates, *rest = found
    return rows, sorted(gates), rest


@settings(max_examples=60, deadline=None)
@given(steps)
def test_sqlite(everything: Callable[[Storage], Any], steps: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        _compare(lambda: open_storage(Path(folder) / "haulier.db", synchronous="normal"), steps, everything)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_postgres(postgres: Any, everything: Callable[[Storage], Any], steps: list[Any]) -> None:
    name = postgres.name()
    _compare(lambda: open_storage(postgres.url(), name), steps, everything)
