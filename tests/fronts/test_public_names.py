"""What is public: a list, written by hand, and every type that a public call names."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from typing import Any

import pytest

import haulier
from haulier import aio

PUBLIC = """
DownloadEngine BackgroundDownloadWorker Wanted SourcePolicy RetryPolicy RestartPolicy Retention Impl Transfer
current_transfer DownloadCancelled PermanentError SourceCrashed Throttled Record DownloadRecord State Phase SourceStatus
Explanation HistoryRow Cursor Attempt Subscription Event Changed Removed Discarded Missed HaulierError EngineClosed
ForkedEngine QueueFull SourceDown StoreLocked StoreUnavailable UnknownDownload UnknownSource
aio fetchers presets supervision testing trace verify
"""
MODULES = ("aio", "presets", "supervision", "testing", "trace", "verify")
FACES = (haulier.DownloadEngine, haulier.BackgroundDownloadWorker, aio.DownloadEngine, aio.BackgroundDownloadWorker)


def test_the_public_names_are_these() -> None:
    assert sorted(haulier.__all__) == sorted(PUBLIC.split())
    assert set(haulier.__all__) <= set(dir(haulier))
    others = {"TYPE_CHECKING", "Any", "annotations", "import_module"}
    bound = {name for name, value in vars(haulier).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert bound - others <= set(haulier.__all__)


@pytest.mark.parametrize("name", [name for name in haulier.__all__ if inspect.isclass(getattr(haulier, name))])
def test_every_public_class_has_a_docstring(name: str) -> None:
    assert (getattr(haulier, name).__doc__ or "").strip()


@pytest.mark.parametrize("name", MODULES)
def test_a_public_module_is_there_after_import_haulier_and_not_loaded_before(name: str) -> None:
    code = f"import sys, haulier; assert 'haulier.{name}' not in sys.modules or '{name}' == 'trace'; haulier.{name}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'haulier' has no attribute 'Downloader'"):
        haulier.Downloader  # noqa: B018


def types_in(annotation: Any) -> set[type]:
    """The classes that an annotation names."""
    found = {annotation} if inspect.isclass(annotation) else set()
    return found.union(*(types_in(part) for part in typing.get_args(annotation)))


@pytest.mark.parametrize("face", FACES)
def test_every_type_of_a_public_call_is_public(face: type) -> None:
    public = {id(getattr(module, name)) for module in (haulier, aio) for name in module.__all__}
    looked_at = 0
    for name, method in inspect.getmembers(face, inspect.isfunction):
        if name.startswith("_") and name != "__init__":
            continue
        hints = typing.get_type_hints(method, localns={"DownloadEngine": haulier.DownloadEngine})
        for hint in hints.values():
            ours = [each for each in types_in(hint) if each.__module__.startswith("haulier")]
            looked_at += len(hints)
            assert all(id(each) in public for each in ours), f"{face.__name__}.{name}: {ours}"
    assert looked_at > 10
