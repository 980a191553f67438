"""The command of `make laws` sees a law that is broken."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT, copy_project


@pytest.mark.parametrize(("line", "code"), [("", 0), ("import kedro\n", 1)])
def test_a_broken_law_is_seen(line, code, tmp_path):
    project = copy_project(tmp_path / "project")
    broken = project / "src" / "unlearnable" / "metrics.py"
    broken.write_text(broken.read_text() + line)
    [recipe] = re.findall(r"^laws:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    variable, _, *arguments = shlex.split(recipe)
    assert variable == "PYTHONPATH=src"
    done = subprocess.run([sys.executable, *arguments], cwd=project, env={"PYTHONPATH": "src"}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert ("Contracts: 4 kept, 0 broken" in done.stdout) == (code == 0)
