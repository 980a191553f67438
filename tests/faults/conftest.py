"""Processes that are made to fail."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.forks import printed_last


@pytest.fixture(scope="session")
def run_module(tmp_path_factory):
    """A function that runs a module of this folder in a process of its own and returns the JSON it prints last."""

    def run(module, *arguments, before=()):
        if not before:
            return printed_last(f"tests.faults.{module}", [*map(str, arguments)], tmp_path_factory.mktemp(module) / "printed")
        command = [*before, sys.executable, "-m", f"tests.faults.{module}", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
