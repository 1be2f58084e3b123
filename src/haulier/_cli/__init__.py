"""The command line: ``haulier get``, ``demo``, ``verify``, ``bench``, ``completion``. Needs ``haulier[cli]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from haulier._cli.arguments import UsageError, parsed, parser, usage_error
from haulier._cli.outlet import Outlet
from haulier._cli.signals import leave_on_ctrl_c

__all__ = ["main"]

_NEEDED: Final = ("rich", "shtab", "urllib3")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: success; 1: some downloads failed, or a promise was broken; 2: wrong usage; 128 + N: stopped by signal N.
    """
    leave_on_ctrl_c()
    args = parsed(argv)
    try:
        return _run(args)
    except UsageError as error:
        usage_error(args.command, str(error))
        return 2


def _run(args: argparse.Namespace) -> int:
    # Each command imports only what it needs: the live table needs rich, 'verify' needs no other package.
    if args.command == "verify":
        from haulier._cli.verify import run as verify

        return verify(args.trace, Outlet(sys.stdout))
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(f"haulier: {' and '.join(missing)} not installed; run: pip install 'haulier[cli]'", file=sys.stderr)
        return 2
    if args.command == "completion":
        from haulier._cli.completion import run as completion

        return completion(parser(), args.shell, Outlet(sys.stdout))
    if args.command == "demo":
        from haulier._cli.demo import run as demo

        return demo(args)
    if args.command == "bench":
        from haulier._cli.bench.show import run as bench

        return bench(args)
    from haulier._cli.get.command import run as get

    return get(args)
