"""``haulier demo``: show the engine at work, without a network."""

from haulier._cli.demo.show import run

__all__ = ["run"]
