"""Commands that run nothing import nothing slow."""

import os
import subprocess
import sys

from tests.conftest import ROOT
from unlearnable import waiting
from unlearnable.config.settings import settings

WRONG = [f"--params={name}=opps" for name in ("poison", "recovery", "model", "train.schedule")] + ["--env=opps", "--pipeline=opps"]
COMMANDS = [(["--help"], 0), (["registry", "list"], 0), (["tracking", "replay", "--help"], 0), *((["run", wrong], 1) for wrong in WRONG)]
LISTING = f"""
import sys
from kedro.framework.cli.cli import main
for arguments, code in {COMMANDS}:
    sys.argv = ["kedro", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code in (None, code), (arguments, end.code)
    loaded = {{"torch", "mlflow", "sklearn", "torchvision"}} & set(sys.modules)
    assert not loaded, (arguments, loaded)
"""


def test_listing_and_refusing_import_neither_torch_nor_mlflow():
    settings()  # kept from now on; make sets it up
    done = subprocess.run(
        [sys.executable, "-c", LISTING], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "DO_NOT_TRACK": "true"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Error: ") == len(WRONG)
    assert "orthoproj" in done.stdout


def test_threads_wait_politely_unless_the_user_says_how(monkeypatch):
    for name in waiting.OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    waiting.politely()
    assert os.environ["GOMP_SPINCOUNT"] == waiting.SPINS
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    waiting.politely()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    waiting.politely()
    assert "GOMP_SPINCOUNT" not in os.environ


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
