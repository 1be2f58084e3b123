"""For programs that test their own impls: run one without an engine, and a clock that tests move by hand."""

from haulier.testing.clock import VirtualClock
from haulier.testing.impls import make_transfer, run_impl

__all__ = ["VirtualClock", "make_transfer", "run_impl"]
