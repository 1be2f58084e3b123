"""GET: ``haulier get`` beside curl, aria2c and wget2: many small files of eight hosts, and a large one. See README.md.

``read`` is not a downloader. It requests the same files on one connection to each host, without waiting for answers,
and discards what it receives. So it shows what the server and this machine can do.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import webserver
from benchmarks.contenders import TRACE
from benchmarks.harness import Column, Sample, Workload, main
from benchmarks.webserver import HOSTS, LARGE, Site

LOOK_EVERY_S: Final = 0.02

MIB: Final = 1 << 20


class Tool:
    """A command line. ``{list}`` has the URLs, ``{into}`` the folder, ``{each}`` and ``{all}`` the limits."""

    def __init__(self, name: str, many: str, large: str, version: str = "--version") -> None:
        self.name, self.many, self.large, self._version = name, many, large, version

    @property
    def program(self) -> list[str]:
        """Return the program to start. haulier is the one of the environment that runs this."""
        return [sys.executable, "-m", "haulier"] if self.name == "haulier" else [self.name]

    def is_here(self) -> bool:
        return self.name in ("haulier", "read") or shutil.which(self.name) is not None

    def command(self, how: str, **values: Any) -> list[str]:
        return [*self.program, *(word.format(**values) for word in how.split()[1:])]

    def version(self) -> str:
        """Return the first line of the version text of a program."""
        done = subprocess.run([*self.program, self._version], capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).partition("\n")[0].strip()

    def close(self) -> None: ...


TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool(
            "haulier",
            "haulier get --quiet --concurrency {each} -i {list} --dest {into}",
            "haulier get --quiet --dest {into} {url}",
        ),
        Tool(
            "curl",
            "curl -q -s -f -Z --parallel-max {all} --remote-name-all --output-dir {into} -K {config}",
            "curl -q -s -f -O --output-dir {into} {url}",
        ),
        Tool(
            "aria2c",
            "aria2c --no-conf -q -j {all} -x 1 -s 1 --file-allocation=none -d {into} -i {list}",
            "aria2c --no-conf -q -x 1 -s 1 --file-allocation=none -d {into} {url}",
        ),
        Tool(
            "wget2",
            "wget2 --no-config -q --no-hsts --max-threads={all} -P {into} -i {list}",
            "wget2 --no-config -q --no-hsts -P {into} {url}",
        ),
        Tool("read", "", ""),
    )
}


def hire(name: str) -> Tool:
    return TOOLS[name]


def lacks(name: str) -> str | None:
    """Return what is missing before ``name`` can be measured; None if nothing is."""
    no_server = webserver.missing()
    if no_server is not None:
        return no_server
    if name == "haulier" and find_spec("rich") is None:
        return "needs its command line: pip install 'haulier[cli]'"
    return None if TOOLS[name].is_here() else f"needs {name}: apt-get install {name.replace('aria2c', 'aria2')}"


def notes() -> list[str]:
    """Return the command lines and the versions, as lines of the page."""
    lines = [f"The server is nginx, {HOSTS} hosts on this machine; at once from each 1, and 4 in the rows ``:four``."]
    lines += ["", "```"]
    for tool in TOOLS.values():
        if tool.many and tool.is_here():
            lines += [f"# {tool.version()}", tool.many, tool.large]
    return [*lines, "```"]


def measure(tool: Tool, sizes: Mapping[str, int]) -> Sample:
    """Measure one file at a time from each host, then the large file."""
    return _measure(tool, sizes, 1, with_large=True)


def measure_four(tool: Tool, sizes: Mapping[str, int]) -> Sample:
    """Measure four files at a time from each host."""
    return _measure(tool, sizes, 4, with_large=False)


def _measure(tool: Tool, sizes: Mapping[str, int], each: int, *, with_large: bool) -> Sample:
    files, size, large = sizes["files"], sizes["kib"] * 1024, sizes["mib"] * MIB
    with webserver.scratch(2 * (files * size + large)) as folder, webserver.serving(folder, files, size, large) as site:
        _read_many(site, size)  # each file once, so that all of them are open at the server
        if tool.name == "read":
            many, big = _timed(lambda: _read_many(site, size)), _timed(lambda: _read(site.url(LARGE), large))
            return {"files_per_s": files / many, "large_mb_per_s": large / 1e6 / big}
        urls = site.urls()
        (folder / "list").write_text("\n".join(urls) + "\n", encoding="utf-8")
        (folder / "config").write_text("".join(f'url = "{url}"\n' for url in urls), encoding="utf-8")
        values = {"list": folder / "list", "config": folder / "config", "each": each, "all": each * HOSTS}
        traced = ["--trace", os.environ[TRACE]] if TRACE in os.environ else []
        ran = _run([*tool.command(tool.many, into=_fresh(folder, "many"), **values), *traced])
        _check(folder / "many", site, site.small)
        sample = {
            "files_per_s": files / ran["wall_s"],
            "file_cpu_us": ran["cpu_s"] * 1e6 / files,
            "many_peak_mib": ran["peak_mib"],
        }
        if with_large:
            ran = _run(tool.command(tool.large, into=_fresh(folder, "large"), url=site.url(LARGE)))
            _check(folder / "large", site, [LARGE])
            sample |= {
                "large_mb_per_s": large / 1e6 / ran["wall_s"],
                "gb_cpu_s": ran["cpu_s"] * 1e9 / large,
                "large_peak_mib": ran["peak_mib"],
            }
        return sample


def _fresh(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _check(folder: Path, site: Site, names: Sequence[str]) -> None:
    """Check that every file is there and complete, and that there is no other file."""
    found = sorted(os.listdir(folder))
    if found != sorted(names):
        odd = sorted(set(found) ^ set(names))
        raise AssertionError(f"{len(found):,} files of {len(names):,}: {', '.join(odd[:5])}")
    _, wrong, unread = filecmp.cmpfiles(folder, site.files, list(names), shallow=False)
    if wrong or unread:
        raise AssertionError(f"{len(wrong) + len(unread):,} files are not what the server has: {(wrong + unread)[:5]}")


def _run(command: Sequence[str]) -> Sample:
    """Run a command. Return its seconds, the CPU seconds of the process and its children, and its peak memory."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    watch = _Memory(child.pid)
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:  # interrupted: it must not write into a folder that is being removed
        child.kill()
        child.wait()
        watch.stop()
        raise
    wall_s = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise AssertionError(f"exit code {child.returncode}: {' '.join(command)}")
    return {"wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": watch.stop()}


class _Memory:
    """Reads the peak memory of a process from time to time. The peak of ``wait4`` would include its parent's."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._peak_kib = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            try:
                lines = self._status.read_text(encoding="utf-8").splitlines()
            except OSError:
                return
            told = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), "0")
            self._peak_kib = max(self._peak_kib, int(told))

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak_kib / 1024


def _timed(what: Any) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def _read_many(site: Site, size: int) -> None:
    """Read all small files: one connection to each host, on which all files are requested at once."""
    errors: list[BaseException] = []

    def one(host: int) -> None:
        try:
            names = site.small[host::HOSTS]
            if names:
                _read(site.url("", host), size * len(names), names)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(host,)) for host in range(HOSTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _read(url: str, body_bytes: int, names: Sequence[str] = ("",)) -> None:
    """Request ``names`` below ``url`` on one connection. The last request closes it. Read until it is closed."""
    host, _, path = url.removeprefix("http://").partition("/")
    address, _, port = host.partition(":")
    last = len(names) - 1
    asked = [
        f"GET /{path}{name} HTTP/1.1\r\nHost: {host}\r\n" + ("Connection: close\r\n\r\n" if number == last else "\r\n")
        for number, name in enumerate(names)
    ]
    buffer, came = bytearray(MIB), 0
    with socket.create_connection((address, int(port)), 30.0) as connection:
        asking = threading.Thread(target=connection.sendall, args=("".join(asked).encode(),))
        asking.start()
        while some := connection.recv_into(buffer):
            came += some
        asking.join()
    if came < body_bytes:
        raise AssertionError(f"{came:,} bytes of {body_bytes:,}")


GET: Final = Workload(
    name="get",
    title="haulier get: small files from eight hosts, and a large one",
    measure=measure,
    modes={"four": measure_four},
    columns=[
        Column("files/s", "files_per_s", ",.0f"),
        Column("CPU µs/file", "file_cpu_us", ",.0f"),
        Column("peak MiB", "many_peak_mib", ".0f"),
        Column("x curl", "files_per_s", ".2f", against="curl", less_is_better=False),
        Column("x curl:four", "files_per_s", ".2f", against="curl:four", less_is_better=False),
        Column("x wget2", "files_per_s", ".2f", against="wget2", less_is_better=False),
        Column("large: MB/s", "large_mb_per_s", ",.0f"),
        Column("CPU s/GB", "gb_cpu_s", ".2f"),
        Column("large: peak MiB", "large_peak_mib", ".0f"),
        Column("large: x curl", "large_mb_per_s", ".2f", against="curl", less_is_better=False),
    ],
    targets=[],
    sizes={"files": 5_000, "kib": 16, "mib": 1024},
    smoke_sizes={"files": 40, "kib": 4, "mib": 4},
    quick_sizes={"files": 1_000, "mib": 128},
    traced_sizes={"files": 500, "mib": 16},
    contenders=(
        "haulier", "curl", "aria2c", "wget2", "haulier:four", "curl:four", "aria2c:four", "wget2:four", "read",
    ),
    others=(),
    bars="files_per_s",
    hire=hire,
    lacks=lacks,
    notes=notes,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(GET))
