"""Shell completion and the man page: both list every option."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from haulier._cli.arguments import parser
from haulier._cli.completion import _actions

if TYPE_CHECKING:
    from tests.cli.conftest import Haulier

MANUAL = Path(__file__).parents[2] / "docs" / "haulier.1"

COMPLETE = """\
source ./script
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_shtab_haulier {words}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def options() -> set[str]:
    return {name for action in _actions(parser()) for name in action.option_strings}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("haulier g", ["get"]),
        ("haulier get --over", ["--overwrite"]),
        ("haulier get --overwrite c", ["changed"]),
        ("haulier get -i li", ["list.txt"]),
        ("haulier completion f", ["fish"]),
    ],
)
def test_bash_completes(run: Haulier, tmp_path: Path, words: str, expected: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "script").write_text(run("completion", "bash").stdout)
    (tmp_path / "list.txt").touch()
    done = subprocess.run(
        [bash, "-c", COMPLETE.format(words=words)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (expected, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_scripts_know_every_option(run: Haulier, tmp_path: Path, shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0, done.stderr
    for option in options():
        assert re.search(rf"(?<![\w-])({re.escape(option)}|{option.lstrip('-')})(?![\w-])", done.stdout), option
    installed = shutil.which(shell)
    if installed is not None:
        (tmp_path / "script").write_text(done.stdout)
        subprocess.run([installed, "-n", "script"], cwd=tmp_path, check=True)


def test_the_manual_tells_of_every_option_and_of_no_other() -> None:
    text = MANUAL.read_text(encoding="utf-8").replace("\\-", "-")
    assert set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", text)) == options()


def test_the_manual_can_be_read() -> None:
    man = shutil.which("man")
    if man is None:
        pytest.skip("needs man")
    shown = subprocess.run(
        [man, "--warnings", "-l", str(MANUAL)], capture_output=True, text=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert shown.stderr == ""
    assert "EXIT STATUS" in shown.stdout
