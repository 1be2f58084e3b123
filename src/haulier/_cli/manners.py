"""How a source is treated: what the command line says, over what the configuration says of it, over the defaults."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import tenacity

from haulier import presets
from haulier._cli.config import Config
from haulier.policies import RetryPolicy, SourcePolicy

__all__ = ["Manners", "manners_of"]


@dataclass(frozen=True)
class Manners:
    """See ``haulier get --help`` for each."""

    concurrency: int = 1
    delay: float = 0.0
    jitter: tuple[float, float] | None = None
    retries: int = 3
    timeout: float = 30.0
    limit_rate: int | None = None
    max_size: int | None = None

    @property
    def policy(self) -> SourcePolicy:
        """What of it the engine sees to."""
        return SourcePolicy(
            concurrency=self.concurrency,
            delay=self.delay,
            jitter=self.jitter,
            retry=RetryPolicy(
                stop=tenacity.stop_after_attempt(self.retries + 1),
                wait=tenacity.wait_exponential_jitter(max=60),
            ),
        )

    @property
    def fetching(self) -> dict[str, Any]:
        """What of it the fetcher sees to."""
        return {"timeout": self.timeout, "limit_rate": self.limit_rate, "max_size": self.max_size}

    def __str__(self) -> str:
        parts = [f"{self.concurrency} at once"]
        if self.delay:
            factors = "" if self.jitter is None else f" x {self.jitter[0]:g}-{self.jitter[1]:g}"
            parts.append(f"{self.delay:g} s between two{factors}")
        parts.append(f"{self.retries} retries")
        if self.limit_rate is not None:
            parts.append(f"{self.limit_rate:,} B/s")
        return ", ".join(parts)


def manners_of(source: str, args: argparse.Namespace, config: Config) -> Manners:
    """The manners for ``source``. An option that was not given is None in ``args``.

    The defaults of a source that ``haulier.presets`` has a policy for are that policy's.
    """
    given = {key: getattr(args, key) for key in Manners.__dataclass_fields__ if getattr(args, key) is not None}
    preset = presets.BY_NAME.get(source)
    usual = Manners() if preset is None else Manners(preset.policy.concurrency, preset.policy.delay)
    return replace(usual, **{**config.of(source), **given})
