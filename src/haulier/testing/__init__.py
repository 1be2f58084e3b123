"""For programs that test their own impls and plugins: a clock that moves only when told."""

from haulier.testing.clock import VirtualClock

__all__ = ["VirtualClock"]
