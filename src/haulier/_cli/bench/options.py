"""The options of ``haulier bench``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from haulier._cli import values
from haulier._cli.bench.scenario import Scenario
from haulier._cli.bench.service import service

__all__ = ["DESCRIPTION", "EXAMPLES", "add", "scenario_of"]

DESCRIPTION: Final = """\
Runs downloads that only sleep, with the real engine or, with --simulate, on a virtual clock. Reports throughput,
waiting times, fairness and utilisation, and draws a timeline with a lane for each slot. Needs no network.
"""

EXAMPLES: Final = """\
examples:
  haulier bench
  haulier bench --simulate --sources 20 --downloads 10000 --concurrency 4 --delay 1 --service lognormal:8,1
  haulier bench --simulate --arrivals 12 --concurrency 1,2,4 --timeline lanes.svg
  haulier bench --service trace:yesterday.trace --concurrency 3 --compare 5

exit status:
  0    the run ended, and every promise was kept
  1    a promise that 'haulier verify' checks was broken
  2    wrong usage
  130  stopped by Ctrl-C
"""

Typed: TypeAlias = Callable[[Callable[[str], Any]], Callable[[str], Any]]

_DEFAULT: Final = Scenario()


def add(bench: argparse.ArgumentParser, typed: Typed) -> None:
    """Add the options to ``bench``. ``typed`` wraps a parser so that argparse prints the text of its ``ValueError``."""
    _add_sources(bench.add_argument_group("sources"), typed)
    _add_downloads(bench.add_argument_group("downloads"), typed)
    run = bench.add_argument_group("the run")
    run.add_argument(
        "--seed", type=typed(values.at_least(0)), default=_DEFAULT.seed, metavar="N",
        help="the seed of all random draws: the same seed gives the same arrivals, durations and faults (default: 1)",
    )  # fmt: skip
    how = run.add_mutually_exclusive_group()
    how.add_argument(
        "--simulate", action="store_true", help="run on a virtual clock, without threads: hours take seconds"
    )
    how.add_argument(
        "--compare", type=typed(values.at_least(1)), metavar="N",
        help="run N times with the real engine, and compare the simulated values with the range of the real ones",
    )  # fmt: skip
    output = bench.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON object in place of the report")
    output.add_argument(
        "--timeline", metavar="FILE", help="draw the timeline as FILE.svg or FILE.png (needs haulier[bench])"
    )
    output.add_argument(
        "--trace", metavar="FILE", help="append a log of all starts and ends to FILE, for 'haulier verify'"
    )


def _add_sources(sources: argparse._ArgumentGroup, typed: Typed) -> None:
    sources.add_argument(
        "--sources", type=typed(values.at_least(1)), default=_DEFAULT.sources, metavar="N",
        help="the number of sources (default: 3)",
    )  # fmt: skip
    sources.add_argument(
        "-c", "--concurrency", type=typed(_each(values.at_least(1))), default=_DEFAULT.concurrency, metavar="N[,N…]",
        help="downloads at the same time at a source; several values are assigned in turn (default: 1,2,3)",
    )  # fmt: skip
    sources.add_argument(
        "--delay", type=typed(_each(values.seconds)), default=_DEFAULT.delay, metavar="SECONDS[,…]",
        help="wait this long between two downloads; several values are assigned in turn (default: 0.05)",
    )  # fmt: skip
    sources.add_argument(
        "--delay-from", choices=("end", "start"), default=_DEFAULT.delay_from,
        help="count the delay from the end of the previous download, or from its start (default: end)",
    )  # fmt: skip
    sources.add_argument(
        "--jitter", type=typed(values.jitter), metavar="LOW-HIGH",
        help="multiply each delay by a random factor between LOW and HIGH, e.g. 0.5-1.5",
    )  # fmt: skip
    sources.add_argument(
        "--restart-wait", type=typed(values.seconds), default=_DEFAULT.restart_s, metavar="SECONDS",
        help="wait this long before a crashed slot is started again (default: 0.2)",
    )  # fmt: skip


def _add_downloads(downloads: argparse._ArgumentGroup, typed: Typed) -> None:
    downloads.add_argument(
        "--downloads", type=typed(values.at_least(1)), default=_DEFAULT.downloads, metavar="N",
        help="the number of downloads in total; the sources get them in turn (default: 45)",
    )  # fmt: skip
    downloads.add_argument(
        "--arrivals", type=typed(_rate), metavar="RATE",
        help="downloads that arrive per second, at random (a Poisson process), or 'all' at the start (default: all)",
    )  # fmt: skip
    downloads.add_argument(
        "--service", type=typed(service), default=_DEFAULT.service, metavar="HOW",
        help="how long each attempt takes: constant:SECONDS, exponential:MEAN, lognormal:MEAN,SIGMA, or trace:FILE for "
        "the durations in the trace of an engine (default: exponential:0.1)",
    )  # fmt: skip
    downloads.add_argument(
        "--failures", type=typed(_share), default=_DEFAULT.failures, metavar="SHARE",
        help="the share of attempts that fail, from 0 to 1 (default: 0.1)",
    )  # fmt: skip
    downloads.add_argument(
        "--crashes", type=typed(_share), default=_DEFAULT.crashes, metavar="SHARE",
        help="the share of attempts that crash their slot, from 0 to 1 (default: 0.03)",
    )  # fmt: skip
    downloads.add_argument(
        "--retries", type=typed(values.at_least(0)), default=_DEFAULT.retries, metavar="N",
        help="retry a failed download up to N times (default: 1)",
    )  # fmt: skip
    downloads.add_argument(
        "--retry-wait", type=typed(values.seconds), default=_DEFAULT.retry_s, metavar="SECONDS",
        help="wait this long before each retry (default: 0.1)",
    )  # fmt: skip


def scenario_of(args: argparse.Namespace) -> Scenario:
    """Make the scenario that the options describe. Raises ``ValueError`` if they contradict each other."""
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
