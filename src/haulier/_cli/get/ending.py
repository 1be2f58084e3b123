"""What ``haulier get`` says at its end: a summary, and what failed, was not checked or did not finish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from haulier._cli.display.tally import Tally
from haulier._cli.display.text import bytes_text, counted, span_text

__all__ = ["not_checked", "not_done", "summary"]

MOST_UNFINISHED: Final = 20
"""How many unfinished downloads are listed after Ctrl-C, and how many files without a checksum."""


def summary(tally: Tally, dest: str, took_s: float) -> str:
    """The last line of a run: how many downloads, how they ended, how many bytes in how long, and where to."""
    parts = [f"{tally.done:,} done"]
    if tally.already_there:
        parts[0] += f" ({tally.already_there:,} already there)"
    if tally.failed:
        parts.append(f"{len(tally.failed):,} failed")
    if tally.unfinished:
        parts.append(f"{len(tally.unfinished):,} not finished")
    amount = f"{bytes_text(tally.bytes_done)} in {span_text(took_s)}"
    return f"{counted(tally.total, 'download')}: {', '.join(parts)}; {amount}, into {dest}"


def not_checked(tally: Tally, checksums: str | None) -> Iterator[str]:
    """Yield the lines about files that the list of checksums does not name."""
    if tally.unlisted:
        yield f"warning: {checksums} has no checksum for {counted(len(tally.unlisted), 'file')}:"
    for shown, name in tally.unlisted[:MOST_UNFINISHED]:
        yield f"  {shown} -> {name}"
    if len(tally.unlisted) > MOST_UNFINISHED:
        yield f"  … and {len(tally.unlisted) - MOST_UNFINISHED:,} more"


def not_done(tally: Tally, again: str) -> Iterator[str]:
    """Yield the lines about failed downloads, each with its error, and about unfinished ones."""
    if tally.failed:
        yield f"{len(tally.failed):,} failed:"
    for each in tally.failed:
        tries = f" ({each.attempts} attempts)" if each.attempts > 1 else ""
        yield f"  {each.shown}: {each.reason}{tries}"
    if tally.unfinished:
        yield f"stopped, {len(tally.unfinished):,} not finished; to resume, {again}:"
    begun_first = sorted(tally.unfinished, key=lambda each: each.attempts == 0)
    for each in begun_first[:MOST_UNFINISHED]:
        yield f"  {each.shown}" + (f" (at {each.progress:.0f} %)" if each.attempts else "")
    if len(begun_first) > MOST_UNFINISHED:
        yield f"  … and {len(begun_first) - MOST_UNFINISHED:,} more"
