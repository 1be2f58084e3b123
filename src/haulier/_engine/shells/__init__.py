"""Thin pykka shells around the core: one thread an actor."""
