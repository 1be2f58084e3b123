"""A PostgreSQL server of the tests' own: in a folder of its own, on a socket in there, gone at the end.

Where PostgreSQL is not installed tests that need it are skipped; with HAULIER_REQUIRE_POSTGRES set they fail.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

_START_S = 50.0

_SETTINGS = {
    "listen_addresses": "",
    # The operating system does not crash in a test, and what it has been given survives every crash of the server.
    "fsync": "off",
    "max_connections": "30",
}

_HBA = """
local all haulier trust
local all locked scram-sha-256
"""


class Cluster:
    """A server that can be stopped and started again. Every test has a schema, by a name, of its own."""

    def __init__(self, programs: Path, folder: Path, owner: str | None) -> None:
        self.folder = folder
        self._programs = programs
        self._owner = owner
        self._data = folder / "data"
        self._names = count(1)
        self.running = False

    def make(self) -> None:
        """Make it, and start it."""
        self._run("initdb", "--pgdata", str(self._data), "--username=haulier", "--encoding=UTF8", "--no-locale")
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
            settings.write(f"unix_socket_directories = '{self.folder}'\n")
        (self._data / "pg_hba.conf").write_text(_HBA)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "start", "--wait", "--pgdata", str(self._data), "--log", str(self.folder / "log"))
        self.running = True

    def stop(self, mode: str = "fast") -> None:
        """Stop it. ``mode='immediate'`` is a crash."""
        self._run("pg_ctl", "stop", "--wait", "--mode", mode, "--pgdata", str(self._data))
        self.running = False

    def url(self, database: str = "postgres", user: str = "haulier", host: Path | None = None) -> str:
        """``user`` may be ``user:password``; ``host`` is the folder of another socket."""
        return f"postgresql://{user}@/{database}?host={quote(str(host or self.folder))}"

    def name(self) -> str:
        """A name of an engine that no other test has."""
        return f"t{next(self._names)}"

    def _run(self, program: str, *arguments: str) -> None:
        with (self.folder / "out").open("wb") as out:  # no pipe: the server would keep it open
            subprocess.run(
                [self._programs / program, *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                user=self._owner,
                group=self._owner,
                extra_groups=None if self._owner is None else [],
                cwd=self.folder,
                timeout=_START_S,
            )


def _found() -> tuple[Path, str | None] | str:
    """Where its programs are and who may run them (None: we), or what is missing."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"psycopg is not there: {error}"
    on_path = shutil.which("pg_ctl")
    places: Sequence[Path] = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: float(place.parent.name)
    )
    programs = [place for place in places if (place / "initdb").exists()]
    if on_path is not None:
        programs.append(Path(on_path).resolve().parent)
    if not programs:
        return "PostgreSQL is not installed (Debian, Ubuntu: apt install postgresql)"
    if os.geteuid() != 0:
        return programs[-1], None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return programs[-1], "postgres"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A server for all tests. One that stops it starts it again."""
    found = _found()
    if isinstance(found, str):
        if os.environ.get("HAULIER_REQUIRE_POSTGRES"):
            pytest.fail(found)
        pytest.skip(found)
    programs, owner = found
    # Not in pytest's own folder, which another user cannot enter, and whose name may be too long for a socket's.
    folder = Path(tempfile.mkdtemp(prefix="haulier-postgres-"))
    try:
        if owner is not None:
            shutil.chown(folder, owner, owner)
        cluster = Cluster(programs, folder, owner)
        try:
            cluster.make()
            yield cluster
        except subprocess.CalledProcessError as error:
            pytest.fail(f"{error}: {(folder / 'out').read_text()}")
        finally:
            if cluster.running:
                cluster.stop("immediate")
    finally:
        shutil.rmtree(folder)
