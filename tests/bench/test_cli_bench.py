"""``haulier bench`` as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from haulier._cli.bench.course import course
from haulier._cli.bench.lanes import draw
from haulier._cli.bench.scenario import Scenario
from haulier._cli.bench.simulated import SimulationStopped, simulate
from haulier.verify import verify

BENCH = [sys.executable, "-m", "haulier", "bench"]

LANE = r"^(?:source-\d|        )  +[█▓▒░·╌✗↻ ]+$"
QUICK = [
    "--downloads", "18", "--service", "constant:0.004", "--delay", "0.002", "--retry-wait", "0.01",
    "--restart-wait", "0.02", "--failures", "0.2",
]  # fmt: skip


def bench(*args: object, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*BENCH, *map(str, args)], capture_output=True, text=True, timeout=50, check=False, env=os.environ | env
    )
    return done.returncode, done.stdout, done.stderr


def test_without_options_it_answers_and_shows_lanes() -> None:
    status, out, err = bench(PYTHONIOENCODING="utf-8")
    assert (status, err) == (0, "")
    lanes = re.findall(LANE, out, re.MULTILINE)
    assert {"source-1", "source-2", "source-3"} <= {lane[:8] for lane in lanes}  # a slot that is not needed has no lane
    assert "✗" in "".join(lanes)
    for word in ("43 of 45 downloads succeeded", "throughput", "fairness", "utilisation", "p99", "restarts"):
        assert word in out
    assert out.endswith("Every promise was kept (haulier verify).\n")


def test_every_slot_has_a_lane() -> None:
    _, out, _ = bench("--simulate", PYTHONIOENCODING="utf-8")
    assert [lane[:8].strip() for lane in re.findall(LANE, out, re.MULTILINE)] == [
        "source-1", "source-2", "", "source-3", "", "",
    ]  # fmt: skip


def test_a_terminal_without_unicode_gets_letters() -> None:
    status, out, _ = bench("--simulate", PYTHONIOENCODING="ascii")
    assert status == 0
    assert re.search(r"^source-1  [#=%:xr. -]+$", out, re.MULTILINE)
    assert "x crashes" in out


def test_json_tells_all_of_it() -> None:
    status, out, err = bench("--json", *QUICK)
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["scenario"]["downloads"] == report["measures"]["downloads"] == 18
    assert report["simulated"] is False
    assert [source["slots"] for source in report["measures"]["sources"]] == [1, 2, 3]
    simulated = json.loads(bench("--json", "--simulate", *QUICK)[1])
    assert simulated["simulated"] is True
    for key in ("succeeded", "failed", "attempts", "retries", "restarts"):
        assert report["measures"][key] == simulated["measures"][key]


def test_the_same_seed_simulates_the_same() -> None:
    runs = [bench("--json", "--simulate", "--jitter", "0.5-1.5", "--seed", seed)[1] for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


def test_a_kept_trace_is_verified_and_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "runs.trace"
    assert bench("--trace", path, *QUICK)[0] == 0
    assert bench("--simulate", "--trace", path, *QUICK)[0] == 0
    with path.open() as lines:
        report = verify(lines)
    assert (report.runs, report.downloads, report.open) == (2, 36, 0)
    status, out, err = bench("--simulate", "--json", "--service", f"trace:{path}")
    assert (status, err) == (0, "")
    assert json.loads(out)["scenario"]["service"].startswith("trace of ")


def test_comparing_runs_for_real(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    status, out, err = bench("--compare", 2, "--trace", path, *QUICK)
    assert (status, err) == (0, "")
    assert re.search(r"^2 real runs +simulated +real: min +median +max +simulated is *$", out, re.MULTILINE)
    assert re.search(r"^attempts +(\d+) +\1 +\1 +\1  within *$", out, re.MULTILINE)
    with path.open() as lines:
        assert verify(lines).runs == 2
    report = json.loads(bench("--compare", 2, "--json", *QUICK)[1])
    assert len(report["runs"]) == 2
    makespan = report["compared"]["makespan_s"]
    assert makespan["least"] <= makespan["middle"] <= makespan["most"]
    assert makespan["within"] == (makespan["least"] <= makespan["simulated"] <= makespan["most"])


def test_the_svg_has_a_bar_for_each_attempt(tmp_path: Path) -> None:
    trace, picture = tmp_path / "trace", tmp_path / "lanes.svg"
    asked = ("--simulate", "--trace", trace, "--failures", "0.3", "--crashes", "0.1")
    assert bench(*asked, "--timeline", picture)[0] == 0
    svg = picture.read_text("utf-8")
    root = ElementTree.fromstring(svg)
    ids = [each.get("id", "") for each in root.iter("{http://www.w3.org/2000/svg}g")]
    drawn = Counter(re.sub(r"bar-\d+-", "", each) for each in ids if each.startswith("bar-"))
    read = course(trace.read_text().splitlines())
    assert drawn == Counter(bar.ending for bar in read.bars)
    assert {"succeeded", "retried", "failed", "crashed"} <= set(drawn)
    assert ids.count("gap-rest") > 0
    assert ids.count("gap-delay") > 0
    shown = "".join(root.itertext())
    for word in (
        "45 downloads at 3 sources, simulated",
        "source-1",
        "3 slots",
        "crash",
        "waits for its restart",
        "seconds since",
    ):
        assert word in shown
    assert bench("--simulate", "--failures", "0.3", "--crashes", "0.1", "--timeline", picture)[0] == 0
    assert picture.read_text("utf-8") == svg  # no date and no random ids in it


def test_the_png_is_one(tmp_path: Path) -> None:
    picture = tmp_path / "lanes.PNG"
    assert bench("--simulate", "--timeline", picture)[0] == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['matplotlib'] = None\n"
    hide += "from haulier._cli import main; sys.exit(main(sys.argv[1:]))"
    picture = tmp_path / "lanes.svg"
    command = [sys.executable, "-c", hide, "bench", "--simulate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")  # the lanes need no matplotlib
    done = subprocess.run(
        [*command, "--timeline", str(picture)], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "haulier bench: --timeline needs matplotlib; run: pip install 'haulier[bench]'\n"
    assert not picture.exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--timeline lanes.pdf", "cannot draw 'lanes.pdf': --timeline needs FILE.png or FILE.svg"),
        ("--timeline no/such/lanes.svg", "cannot write 'no/such/lanes.svg': its folder does not exist"),
        ("--trace no/such/trace", "its folder does not exist"),
        ("--failures 0.6 --crashes 0.6", "together must be at most 1"),
        ("--service normal:1", "unknown distribution 'normal:1'; use constant:S"),
        ("--concurrency 1,0", "must be at least 1"),
        ("--arrivals never", "must be 'all'"),
        ("--simulate --compare 2", "not allowed with"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(args: str, says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*BENCH, *args.split()], capture_output=True, text=True, timeout=50, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it() -> None:
    process = subprocess.Popen(
        [*BENCH, "--service", "constant:1000", "--crashes", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "45 downloads" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (130, "stopped before the end; there is no report\n")


@pytest.mark.parametrize("width", [36, 60, 200])
def test_no_line_of_the_lanes_is_too_long(width: int) -> None:
    scenario = Scenario(failures=0.3, crashes=0.1)
    lines = draw(course(simulate(scenario), restart_s=scenario.restart_s), width)
    assert max(line.cell_len for line in lines) <= width
    assert max(line.cell_len for line in lines[1:7]) > width * 0.8
    shown = "\n".join(line.plain for line in lines)
    assert all(word in shown for word in ("runs", "fails", "crashes", "restarts"))
    if width > 50:
        assert "waits for its delay" in shown


def test_the_legend_tells_of_nothing_that_is_not_there() -> None:
    scenario = Scenario(failures=1.0, crashes=0.0, retries=0, delay=(0.0,))
    legend = draw(course(simulate(scenario)), 80)[-1].plain
    assert legend.split() == ["▒░", "fails"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--retries", 10**11], "at most 5,000,000"),
        (["--downloads", 10**9], "at most 5,000,000"),
        (["--sources", 10**6], "sources must be at most 10,000"),
    ],
)
def test_what_no_machine_could_do_is_refused_at_once(args: list[object], words: str) -> None:
    status, out, err = bench("--simulate", *args)
    assert (status, out) == (2, "")
    assert words in err


@pytest.mark.parametrize("option", ["--timeline", "--trace"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_the_work(tmp_path: Path, option: str) -> None:
    folder = tmp_path / "a.svg"
    folder.mkdir()
    status, out, err = bench(option, folder)
    assert (status, out) == (2, "")
    assert "it is a folder" in err


@pytest.mark.parametrize(
    "line",
    [
        '{"run": "x", "event": "start", "at": 1.0, "source": "s", "id": "a"}',
        '{"run": "x", "event": "start", "at": 1.0, "source": "s", "stamped": 1.0}',
        '{"run": "x", "event": "start", "at": 1.0, "source": "s", "id": "a", "stamped": "then"}',
        '{"run": "x", "event": "start", "at": 1.0, "source": "s", "id": "a", "stamped": NaN}\n'
        '{"run": "x", "event": "returned", "at": 2.0, "source": "s", "id": "a"}',
        "\x80",
    ],
)
def test_a_trace_that_says_too_little_is_a_mistake_in_the_call(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b'{"run": "x", "event": "opened", "at": 0.0}\n' + line.encode("latin-1") + b"\n")
    status, out, err = bench("--simulate", "--service", f"trace:{path}")
    assert (status, out) == (2, "")
    assert "not a line of a trace" in err or "is not a trace" in err
    assert "Traceback" not in err


def test_a_simulation_can_be_stopped() -> None:
    looks = iter([False] * 20)
    with pytest.raises(SimulationStopped):
        list(simulate(Scenario(), stopped=lambda: next(looks, True)))


def test_of_many_sources_each_name_has_its_place() -> None:
    scenario = Scenario(sources=2_000, downloads=2_000)
    assert scenario.names is scenario.names, "they are made once"
    assert [scenario.slots(name) for name in scenario.names[:4]] == [1, 2, 3, 1]
    assert scenario.policy(scenario.names[-1]).concurrency == (1, 2, 3)[1_999 % 3]
