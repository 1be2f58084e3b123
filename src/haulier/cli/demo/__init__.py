"""``haulier demo``: the engine at work, on this machine alone."""

from haulier.cli.demo.show import run

__all__ = ["run"]
