"""``python -m haulier``: the command line."""

from __future__ import annotations

import sys

from haulier._cli import main

if __name__ == "__main__":
    sys.exit(main())
