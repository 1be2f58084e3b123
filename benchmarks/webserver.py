"""The server for ``get.py``: nginx on this machine, as eight hosts, and its files. Linux only."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["HOSTS", "LARGE", "Site", "missing", "scratch", "serving"]

HOSTS: Final = 8
"""127.0.0.1 to 127.0.0.8: all are addresses of this machine, and clients see each as a separate host."""

LARGE: Final = "large.bin"

STARTED_WITHIN_S: Final = 10.0

# A keep-alive connection is not closed after a thousand requests, and a requested file stays open. The clients are
# measured, so the server must do as little work as possible.
_CONF: Final = """
{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=20000 inactive=600s;
    open_file_cache_valid 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    server {{
        {listen}
        root {files};
    }}
}}
"""


class Site:
    """A running server, and ``files``, the folder that it serves."""

    def __init__(self, files: Path, port: int) -> None:
        self.files, self.port = files, port
        self.small = sorted(path.name for path in files.iterdir() if path.name != LARGE)

    def url(self, name: str, host: int = 0) -> str:
        return f"http://127.0.0.{host + 1}:{self.port}/{name}"

    def urls(self) -> list[str]:
        """Return the URLs of the small files. The hosts take turns."""
        return [self.url(name, number % HOSTS) for number, name in enumerate(self.small)]


def missing() -> str | None:
    """Return why no server can be started here; None if one can."""
    if not sys.platform.startswith("linux"):
        return "needs Linux, where all of 127.0.0.0/8 is this machine"
    return None if _nginx() else "needs nginx: apt-get install nginx-light"


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def scratch(needed_bytes: int) -> Iterator[Path]:
    """Make a fresh folder: in memory if there is room, so that no disk is measured, otherwise in ``TMPDIR``."""
    memory = Path("/dev/shm")
    fits = memory.is_dir() and shutil.disk_usage(memory).free > 2 * needed_bytes
    where = memory if fits and "TMPDIR" not in os.environ else None
    with tempfile.TemporaryDirectory(prefix="haulier-get-", dir=where) as name:
        yield Path(name)


@contextmanager
def serving(folder: Path, count: int, size: int, large_size: int) -> Iterator[Site]:
    """Make ``count`` different files of ``size`` bytes and a large one, and serve them until the context ends."""
    files = folder / "files"
    files.mkdir()
    dice = random.Random(1)
    for number in range(count):
        (files / f"{number:06}.bin").write_bytes(dice.randbytes(size))
    with (files / LARGE).open("wb") as large:  # holes, and a mark every 16 MiB that would show what is out of place
        large.truncate(large_size)
        for place in range(0, large_size - 8, 16 << 20):
            large.seek(place)
            large.write(dice.randbytes(8))
    nginx = _nginx()
    assert nginx is not None
    port = _free_port()
    listen = " ".join(f"listen 127.0.0.{host + 1}:{port};" for host in range(HOSTS))
    conf = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(_CONF.format(user=user, folder=folder, files=files, listen=listen), encoding="utf-8")
    server = subprocess.Popen([nginx, "-p", str(folder), "-c", str(conf), "-e", "stderr"], stderr=subprocess.PIPE)
    try:
        _await(server, port)
        yield Site(files, port)
    finally:
        server.terminate()
        server.communicate()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _await(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                _, said = server.communicate()
                raise RuntimeError(f"nginx does not start: {said.decode(errors='replace')}") from None
            time.sleep(0.01)
        else:
            return
