"""Mutate the core and report what survives: mutmut runs tests/core on each mutant, then this runs tests/simulation.

    python tests/mutation/mutants.py [PATTERN ...]    such as 'haulier._engine.core.gate.*'; default: all mutants

A surviving mutant needs a test that kills it or a line in ``explained.txt``: the function, and what a line of it
becomes. ``…`` stands for any text, and a line with it for any number of mutants. The exit status is 1 if a survivor is
not explained, or if all mutants were tried and a line explains none.
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
WORKPLACE = ROOT / "mutants"
"""A copy of the code. mutmut makes its own in it, with every mutant; ``MUTANT_UNDER_TEST`` names the one to run."""
CORE = "haulier._engine.core."
"""What the name of each mutant begins with."""
MUTMUT = str(Path(sys.executable).with_name("mutmut"))
SIMULATION = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
SIMULATION_S = 600
"""Seconds. The simulation takes half a minute: a run that has not ended by then hangs."""
PROPERTY = re.compile(r"^    @(property|cached_property)\n    def (\w+)\(self\)", re.MULTILINE)


def prepare() -> None:
    """Copy the code, with a method behind each property of the core: mutmut mutates no function with a decorator."""
    shutil.rmtree(WORKPLACE, ignore_errors=True)  # mutmut lets a verdict stand where only a test has changed
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, WORKPLACE / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", WORKPLACE)
    for module in (WORKPLACE / "src/haulier/_engine/core").glob("*.py"):
        code = module.read_text(encoding="utf-8")
        code = PROPERTY.sub(r"    \2 = \1(lambda self: self.\2_())\n\n    def \2_(self)", code)
        module.write_text(code, encoding="utf-8")


def mutmut_lines(*arguments: str) -> list[str]:
    """The lines that a command of mutmut prints."""
    command = [MUTMUT, *arguments]
    return subprocess.run(command, cwd=WORKPLACE, check=True, capture_output=True, text=True).stdout.splitlines()


def verdicts() -> dict[str, str]:
    """The verdict on each mutant that was tried, by its name."""
    each = (line.strip().partition(": ") for line in mutmut_lines("results", "--all", "true"))
    return {name: verdict for name, _, verdict in each if verdict and verdict != "not checked"}


def described(name: str) -> str:
    """Describe a mutant by its line: the number in its name changes with the function."""
    module, _, function = name.removeprefix(CORE).partition(".")
    function = function.partition("__mutmut_")[0].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    becomes = [line[1:].strip() for line in mutmut_lines("show", name) if re.match(r"\+(?!\+\+)", line)]
    return f"{module}.{function}: {' '.join(becomes)}"


def survives_the_simulation(name: str) -> bool:
    """Whether tests/simulation passes with a mutant."""
    mutated = WORKPLACE / "mutants"
    env = {**os.environ, "MUTANT_UNDER_TEST": name, "PYTHONPATH": str(mutated / "src")}
    command = [*SIMULATION, "tests/simulation"]
    try:
        return subprocess.run(command, cwd=mutated, env=env, capture_output=True, timeout=SIMULATION_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def explained(living: dict[str, str]) -> tuple[set[str], list[str]]:
    """The names of the survivors that are explained, and the lines that explain none."""
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
    """Run the mutants that ``patterns`` name, or all, and return the exit status."""
    prepare()
    subprocess.run([MUTMUT, "run", *patterns], cwd=WORKPLACE, check=True)
    became = verdicts()
    living = {name: described(name) for name, verdict in became.items() if verdict != "killed"}
    known, unused = explained(living)
    hung = [name for name in living if name not in known and became[name] == "timeout"]
    open_ = [name for name in living if name not in known and became[name] != "timeout"]
    left = []
    for name in open_:
        print("in the simulation:", living[name], flush=True)
        if survives_the_simulation(name):
            left.append(name)
    simulated = [name for name in open_ if name not in left]

    by_module = Counter(name.removeprefix(CORE).partition(".")[0] for name in became)
    print(f"\n{len(became)} mutants:", ", ".join(f"{module} {count}" for module, count in sorted(by_module.items())))
    print(f"{len(became) - len(living)} killed by tests/core, {len(hung)} hung there, {len(simulated)} killed by")
    print(f"tests/simulation alone, {len(known)} explained, {len(left)} not")
    for what, names in (("hung", hung), ("simulation alone", simulated), ("NOT EXPLAINED", left)):
        for name in names:
            print(f"{what}: {living[name]}    [{name}]")
    if patterns:
        unused = []
    for line in unused:
        print(f"EXPLAINS NOTHING: {line}")
    return 1 if left or unused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
