"""``haulier demo``: the engine at work, on this machine alone."""

from haulier._cli.demo.show import run

__all__ = ["run"]
