"""haulier on a file, with ``at_most_once``: each start is on disk before its impl is called."""

from __future__ import annotations

import haulier
from benchmarks.contenders.haulier_durable import HaulierDurable

__all__ = ["HaulierOnce", "make"]


class HaulierOnce(HaulierDurable):
    policy = haulier.SourcePolicy(at_most_once=True)


make = HaulierOnce
