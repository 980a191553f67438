"""Commands that run nothing import nothing slow."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LISTING = """
import sys
from kedro.framework.cli.cli import main
sys.argv = ["kedro", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = {{"torch", "mlflow", "sklearn", "torchvision"}} & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize("arguments", [["--help"], ["registry", "list"], ["tracking", "replay", "--help"]], ids=" ".join)
def test_listing_imports_neither_torch_nor_mlflow(arguments):
    done = subprocess.run(
        [sys.executable, "-c", LISTING.format(arguments=arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "DO_NOT_TRACK": "true"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if arguments == ["registry", "list"]:
        assert "orthoproj" in done.stdout


PLANNING = """
import sys
import unlearnable.study.commands
loaded = {"mlflow", "sklearn", "torchvision", "distributed"} & set(sys.modules)
assert not loaded, loaded
"""


def test_planning_imports_no_library_that_only_some_runs_need():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", PLANNING], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
