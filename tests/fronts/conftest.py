"""A face for asyncio of the engine of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import haulier
from haulier import aio


@pytest.fixture
def face(engine: haulier.DownloadEngine) -> Iterator[aio.DownloadEngine]:
    """A face of ``engine``, closed at the end."""
    face = aio.DownloadEngine(engine)
    yield face
    asyncio.run(face.close())
