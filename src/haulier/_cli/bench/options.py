"""What ``haulier bench`` understands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from haulier._cli import values
from haulier._cli.bench.scenario import Scenario
from haulier._cli.bench.service import service

__all__ = ["DESCRIPTION", "EXAMPLES", "add", "scenario_of"]

DESCRIPTION: Final = """\
Plays downloads that only sleep, through a real engine or (--simulate) on a virtual clock, and says what came of it:
throughput, waiting times, fairness, how busy the slots were; with a timeline, a lane for each slot.
"""

EXAMPLES: Final = """\
examples:
  haulier bench
  haulier bench --simulate --sources 20 --downloads 10000 --concurrency 4 --delay 1 --service lognormal:8,1
  haulier bench --simulate --arrivals 12 --concurrency 1,2,4 --timeline lanes.svg
  haulier bench --service trace:yesterday.trace --concurrency 3 --compare 5

exit status:
  0 it ran as promised, 1 it did not (a promise that 'haulier verify' checks was broken), 2 wrong usage,
  130 stopped by Ctrl-C
"""

Typed: TypeAlias = Callable[[Callable[[str], Any]], Callable[[str], Any]]

_DEFAULT: Final = Scenario()


def add(bench: argparse.ArgumentParser, typed: Typed) -> None:
    """Add the options; ``typed`` makes of a ``ValueError`` what argparse shows."""
    _add_sources(bench.add_argument_group("sources"), typed)
    _add_downloads(bench.add_argument_group("downloads"), typed)
    run = bench.add_argument_group("the run")
    run.add_argument(
        "--seed", type=typed(values.at_least(0)), default=_DEFAULT.seed, metavar="N",
        help="the same one gives the same arrivals, times and faults (default: 1)",
    )  # fmt: skip
    how = run.add_mutually_exclusive_group()
    how.add_argument(
        "--simulate", action="store_true", help="on a virtual clock: hours of downloads in seconds, and no threads"
    )
    how.add_argument(
        "--compare", type=typed(values.at_least(1)), metavar="N",
        help="run N times for real, and hold what was simulated against the spread of that",
    )  # fmt: skip
    output = bench.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object in place of the report")
    output.add_argument(
        "--timeline", metavar="FILE", help="draw the lanes as FILE.svg or FILE.png (needs haulier[bench])"
    )
    output.add_argument("--trace", metavar="FILE", help="append what happens when, for 'haulier verify'")


def _add_sources(sources: argparse._ArgumentGroup, typed: Typed) -> None:
    sources.add_argument(
        "--sources", type=typed(values.at_least(1)), default=_DEFAULT.sources, metavar="N",
        help="how many there are (default: 3)",
    )  # fmt: skip
    sources.add_argument(
        "-c", "--concurrency", type=typed(_each(values.at_least(1))), default=_DEFAULT.concurrency, metavar="N[,N…]",
        help="downloads at once at a source; several: for the sources in turn (default: 1,2,3)",
    )  # fmt: skip
    sources.add_argument(
        "--delay", type=typed(_each(values.seconds)), default=_DEFAULT.delay, metavar="SECONDS[,…]",
        help="rest between two downloads; several: for the sources in turn (default: 0.05)",
    )  # fmt: skip
    sources.add_argument(
        "--delay-from", choices=("end", "start"), default=_DEFAULT.delay_from,
        help="whether that counts from the end of the one before or from its start (default: end)",
    )  # fmt: skip
    sources.add_argument(
        "--jitter", type=typed(values.jitter), metavar="LOW-HIGH",
        help="a factor between the two is drawn for each rest, e.g. 0.5-1.5",
    )  # fmt: skip
    sources.add_argument(
        "--restart-wait", type=typed(values.seconds), default=_DEFAULT.restart_s, metavar="SECONDS",
        help="rest of a source after a crash (default: 0.2)",
    )  # fmt: skip


def _add_downloads(downloads: argparse._ArgumentGroup, typed: Typed) -> None:
    downloads.add_argument(
        "--downloads", type=typed(values.at_least(1)), default=_DEFAULT.downloads, metavar="N",
        help="of all sources together, which get them in turn (default: 45)",
    )  # fmt: skip
    downloads.add_argument(
        "--arrivals", type=typed(_rate), metavar="RATE",
        help="so many a second, at random (a Poisson process), or 'all' at once (default: all)",
    )  # fmt: skip
    downloads.add_argument(
        "--service", type=typed(service), default=_DEFAULT.service, metavar="HOW",
        help="how long each takes: constant:SECONDS, exponential:MEAN, lognormal:MEAN,SIGMA, or trace:FILE for times "
        "that an engine has traced (default: exponential:0.1)",
    )  # fmt: skip
    downloads.add_argument(
        "--failures", type=typed(_share), default=_DEFAULT.failures, metavar="SHARE",
        help="of the attempts, from 0 to 1 (default: 0.1)",
    )  # fmt: skip
    downloads.add_argument(
        "--crashes", type=typed(_share), default=_DEFAULT.crashes, metavar="SHARE",
        help="of the attempts that take their slot down with them (default: 0.03)",
    )  # fmt: skip
    downloads.add_argument(
        "--retries", type=typed(values.at_least(0)), default=_DEFAULT.retries, metavar="N",
        help="further attempts at a download that fails (default: 1)",
    )  # fmt: skip
    downloads.add_argument(
        "--retry-wait", type=typed(values.seconds), default=_DEFAULT.retry_s, metavar="SECONDS",
        help="before each of them (default: 0.1)",
    )  # fmt: skip


def scenario_of(args: argparse.Namespace) -> Scenario:
    """What the options ask. Raises ``ValueError`` where they do not go together."""
    return Scenario(
        sources=args.sources,
        downloads=args.downloads,
        concurrency=args.concurrency,
        delay=args.delay,
        delay_from=args.delay_from,
        jitter=args.jitter,
        rate=args.arrivals or None,
        service=args.service,
        failures=args.failures,
        crashes=args.crashes,
        retries=args.retries,
        retry_s=args.retry_wait,
        restart_s=args.restart_wait,
        seed=args.seed,
    )


def _each(meaning: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(meaning(each) for each in text.split(","))


def _rate(text: str) -> float:
    if text == "all":
        return 0.0
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e6:
        raise ValueError(f"must be 'all', or a number per second above 0, not {text!r}")
    return rate


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"must be a share from 0 to 1, not {text!r}")
    return share
