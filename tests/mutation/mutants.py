"""Mutate core/ and say what lives: mutmut runs tests/core on each mutant, and tests/simulation sees what that leaves.

    python tests/mutation/mutants.py [PATTERN ...]    names of mutants, such as 'haulier.core.gate.*'; none: all

A mutant that lives is to be killed by a test or explained in ``explained.txt``: the function, and what a line of it
becomes; ``…`` stands for anything, and a line with it for any number of mutants. Exit status 1: a mutant lives that is
not explained, or (where all were tried) none is left that a line explains.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("explained.txt")
MUTANTS = ROOT / "mutants"
"""Where mutmut works: a copy of the code with every mutant in it, of which ``MUTANT_UNDER_TEST`` names one."""
MUTMUT = str(Path(sys.executable).with_name("mutmut"))
SIMULATION = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
SIMULATION_S = 300
"""It takes ten; what has not ended by then runs for ever."""


def verdicts() -> dict[str, str]:
    """What became of each mutant that was tried, by its name."""
    told = subprocess.run([MUTMUT, "results", "--all", "true"], cwd=ROOT, check=True, capture_output=True, text=True)
    each = (line.strip().partition(": ") for line in told.stdout.splitlines())
    return {name: verdict for name, _, verdict in each if verdict and verdict != "not checked"}


def described(name: str) -> str:
    """A mutant by what it is; its name has a number that changes with the function."""
    module, _, function = name.removeprefix("haulier.core.").partition(".")
    function = function.partition("__mutmut_")[0].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    told = subprocess.run([MUTMUT, "show", name], cwd=ROOT, check=True, capture_output=True, text=True)
    lines = told.stdout.splitlines()
    becomes = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    return f"{module}.{function}: {' '.join(becomes)}"


def lives_in_the_simulation(name: str) -> bool:
    """Whether the simulation, too, finds nothing wrong with a mutant."""
    env = {**os.environ, "MUTANT_UNDER_TEST": name, "PYTHONPATH": str(MUTANTS / "src")}
    command = [*SIMULATION, "tests/simulation"]
    try:
        return subprocess.run(command, cwd=MUTANTS, env=env, capture_output=True, timeout=SIMULATION_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def explained(living: dict[str, str]) -> tuple[set[str], list[str]]:
    """Which of the living are explained, by name; and the lines that explain none."""
    seen: set[str] = set()
    unused = []
    for line in EXPLAINED.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        fitting = [name for name, mutant in living.items() if name not in seen and pattern.fullmatch(mutant)]
        seen |= set(fitting if "…" in line else fitting[:1])
        if not fitting:
            unused.append(line)
    return seen, unused


def main(patterns: list[str]) -> int:
    """Run all; the exit status."""
    shutil.rmtree(MUTANTS, ignore_errors=True)  # mutmut lets a verdict stand where only a test has changed
    subprocess.run([MUTMUT, "run", *patterns], cwd=ROOT, check=True)
    became = verdicts()
    living = {name: described(name) for name, verdict in became.items() if verdict != "killed"}
    known, unused = explained(living)
    open_ = [name for name in living if name not in known and became[name] != "timeout"]
    simulated = [name for name in open_ if not lives_in_the_simulation(name)]
    left = [name for name in open_ if name not in simulated]

    print()
    by_module = Counter(name.split(".")[2] for name in became)
    print(f"{len(became)} mutants:", ", ".join(f"{module} {count}" for module, count in sorted(by_module.items())))
    killed = sum(verdict == "killed" for verdict in became.values())
    hung = [name for name in living if name not in known and became[name] == "timeout"]
    print(f"{killed} killed by tests/core, {len(hung)} hung, {len(simulated)} killed by tests/simulation alone")
    print(f"{len(known)} explained, {len(left)} not")
    for what, names in (("hung", hung), ("simulation", simulated), ("NOT EXPLAINED", left)):
        for name in names:
            print(f"{what}: {living[name]}    [{name}]")
    if not patterns:
        for line in unused:
            print(f"EXPLAINS NOTHING: {line}")
    return 1 if left or (unused and not patterns) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
