"""``haulier verify FILE``: check a trace against the promises of the engine."""

from __future__ import annotations

from haulier._cli.arguments import UsageError
from haulier._cli.display.text import counted
from haulier._cli.outlet import Outlet, stderr_line
from haulier.fetchers.texts import open_text
from haulier.verify import Violation, verify

__all__ = ["run"]


def run(path: str, outlet: Outlet) -> int:
    """Check the trace at ``path`` and print the result. Returns the exit status.

    Raises ``UsageError`` if the file cannot be read or is not a trace.
    """
    try:
        with open_text(path) as trace:
            report = verify(trace)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {path}: it is not text in UTF-8") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    except Violation as violation:
        stderr_line(f"a promise was broken: {violation}")
        return 1
    parts = [counted(report.downloads, "download"), counted(report.attempts, "attempt")]
    parts += [counted(report.sources, "source"), counted(report.runs, "engine")]
    rest = f"; {report.open:,} had not ended at the end of the trace" if report.open else ""
    outlet.line(f"{', '.join(parts)}: every promise was kept{rest}")
    return int(outlet.is_broken)
