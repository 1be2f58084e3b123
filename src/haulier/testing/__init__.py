"""What haulier tests itself with, for users too: a clock that only moves when told, and a simulator of one source."""

from haulier.testing.clock import VirtualClock
from haulier.testing.simulator import Dispatch, Simulator
from haulier.testing.witness import Witness

__all__ = ["Dispatch", "Simulator", "VirtualClock", "Witness"]
