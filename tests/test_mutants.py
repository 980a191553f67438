"""The table of deliberate faults fits the project, and its runner tells a fault that was seen from one that was not."""

import ast
import os
import subprocess
import sys
from functools import cache

from tests.conftest import ROOT
from tests.mutants.__main__ import Verdict, check, misplaced, told
from tests.mutants.table import MUTANTS, Mutant

FEWEST = 60


@cache
def functions(file: str) -> set[str]:
    """Return the names by which pytest knows the functions of a file."""
    found = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else []
        found |= {getattr(node, "name", "")} | {f"{node.name}::{getattr(method, 'name', '')}" for method in inside}
    return found


def test_there_are_many_and_each_has_a_name_of_its_own():
    assert len(MUTANTS) >= FEWEST
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.before, mutant.after) for mutant in MUTANTS}) == len(MUTANTS)


def test_each_stands_once_in_its_file_and_changes_it():
    assert misplaced(MUTANTS, ROOT) == []
    assert [mutant.name for mutant in MUTANTS if mutant.before == mutant.after] == []


def test_each_test_that_is_named_is_there():
    named = {test.partition("[")[0].partition("::")[::2] for mutant in MUTANTS for test in mutant.tests}
    assert [f"{file}::{name}" for file, name in sorted(named) if name not in functions(file)] == []
    assert all(mutant.tests for mutant in MUTANTS)


def test_a_text_that_does_not_stand_once_is_said():
    twice = Mutant("a name", "tests/mutants/table.py", "Mutant(", "", ())
    nowhere = Mutant("another name", "no/such/file.py", "x", "", ())
    assert [line.rpartition(" ")[0] for line in misplaced([twice, nowhere], ROOT)] == [
        "a name: expected its text once in tests/mutants/table.py, got",
        "another name: expected its text once in no/such/file.py, got",
    ]


# ---- the runner, on a project of two files

TINY = {
    "src/sums.py": "def added(a, b):\n    return a + b\n\n\ndef doubled(a):\n    return 2 * a\n",
    "tests/test_sums.py": "from sums import added, doubled\n\n\ndef test_added():\n    assert added(2, 2) == 4\n\n\n"
    "def test_doubled():\n    assert doubled(3) == 6\n",
    "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['src']\n",
}
RUNNER = """
import sys
from pathlib import Path
from tests.mutants.__main__ import check, warm_up
from tests.mutants.table import Mutant

FAULTS = {
    "survived": Mutant("a sum is a product", "src/sums.py", "a + b", "a * b", ("tests/test_sums.py::test_added",)),
    "caught": Mutant("a double is a triple", "src/sums.py", "2 * a", "3 * a", ("tests/test_sums.py::test_doubled",)),
    "error": Mutant("no file of Python", "src/sums.py", "return a + b", "return a +", ("tests/test_sums.py::test_added",)),
}
warm_up(["pytest"])
sys.exit(check([FAULTS[name] for name in sys.argv[2:]], Path(sys.argv[1]), slowest=True))
"""


def checked(folder, *faults: str) -> tuple[int, str]:
    for name, text in TINY.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    command = [sys.executable, "-c", RUNNER, str(folder), *faults]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert {name: (folder / name).read_text() for name in TINY} == TINY  # only the copy is changed
    return done.returncode, done.stdout


def test_the_runner_tells_what_was_caught_from_what_survived_and_from_a_wrong_row(tmp_path):
    code, said = checked(tmp_path, "caught", "survived", "error")
    assert code == 1
    assert "unchanged: passed" in said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("[")] == ["caught", "survived", "error"]
    first, survived, wrong = said.splitlines()[-3:]
    assert first.startswith("1 of 3 caught in ")
    assert (survived, wrong) == ("survived: a sum is a product (src/sums.py)", "error: no file of Python (src/sums.py)")


def test_it_ends_well_where_all_are_caught(capsys):
    caught = [Verdict(mutant=mutant, code=1, seconds=1.0) for mutant in MUTANTS[:2]]
    assert told(caught, slowest=False) == 0
    assert capsys.readouterr().out == "2 of 2 caught in 2 s\n"


def test_a_row_that_does_not_fit_ends_it_before_anything_runs(tmp_path, capsys):
    assert check([Mutant("what is not there", "Makefile", "a - b", "a + b", ())], tmp_path) == 1
    assert capsys.readouterr().out == "what is not there: expected its text once in Makefile, got 0\n"
