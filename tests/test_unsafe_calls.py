"""What runs code that it reads, or writes outside of its folder, is refused by the linters; each rule has its twin."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

# a line that is refused, by which rule, and what is to be written in its place
UNSAFE = [
    ("import torch\ntorch.load('x')", "TID251", "import safetensors.torch\nsafetensors.torch.load(b'x')"),
    ("import torch\ntorch.load('x', weights_only=False)", "TID251", "import torch\ntorch.save({}, 'x')"),
    ("from torch import load\nload('x')", "TID251", "from torch import save\nsave({}, 'x')"),
    ("import torch\ntorch.jit.load('x')", "TID251", "import torch\ntorch.jit.script(lambda x: x)"),
    ("import torch\ntorch.hub.load('x', 'y')", "TID251", "import torch\ntorch.hub.get_dir()"),
    ("import numpy as np\nnp.load('x')", "TID251", "import numpy as np\nnp.load('x', allow_pickle=False)  # ours  # noqa: TID251"),
    ("import numpy as np\nnp.load('x', allow_pickle=True)", "TID251", "import numpy as np\nnp.save('x', np.zeros(1))"),
    ("import pickle", "TID251", "import json"),
    ("from pickle import loads\nloads(b'')", "S301", "from json import loads\nloads('{}')"),
    ("import dill", "TID251", "import json"),
    ("import cloudpickle", "TID251", "import json"),
    ("import joblib", "TID251", "import json"),
    ("import shelve", "TID251", "import json"),
    ("import marshal", "TID251", "import json"),
    ("import pandas as pd\npd.read_pickle('x')", "TID251", "import pandas as pd\npd.read_parquet('x')"),
    ("import yaml\nyaml.load('x', Loader=yaml.Loader)", "S506", "import yaml\nyaml.safe_load('x')"),
    ("import yaml\nyaml.load('x', Loader=yaml.SafeLoader)", "TID251", "import yaml\nyaml.safe_load('x')"),
    ("import yaml\nyaml.unsafe_load('x')", "TID251", "import yaml\nyaml.safe_load('x')"),
    ("import yaml\nyaml.full_load('x')", "TID251", "import yaml\nyaml.safe_load('x')"),
    ("eval('1')", "S307", "import ast\nast.literal_eval('1')"),
    ("exec('1')", "S102", "import ast\nast.parse('1')"),
    ("import tarfile\ntarfile.open('x').extractall()", "S202", "import tarfile\ntarfile.open('x').extractall(filter='data')"),
    ("import shutil\nshutil.unpack_archive('x')", "TID251", "import shutil\nshutil.make_archive('x', 'zip')"),
    ("import subprocess\nsubprocess.run('x', shell=True)", "S602", "import subprocess"),
    ("import os\nos.system('x')", "S605", "import os\nos.getpid()"),
]


def refused_by(tool: list[str], code: str) -> str:
    command = [sys.executable, "-m", *tool]
    return subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, check=False).stdout


def ruff(code: str) -> set[str]:
    """Return the names of the rules that ruff finds broken in a file of the package that holds ``code``."""
    found = refused_by(["ruff", "check", "--output-format=concise", "--stdin-filename=src/unlearnable/new.py", "-"], f"{code}\n")
    return {line.split()[1] for line in found.splitlines() if line.startswith("src/unlearnable/new.py:")}


@pytest.mark.parametrize(("unsafe", "rule", "safe"), UNSAFE, ids=[unsafe.splitlines()[-1] for unsafe, *_ in UNSAFE])
def test_an_unsafe_call_is_refused_and_what_stands_in_its_place_is_not(unsafe, rule, safe):
    assert rule in ruff(unsafe)
    assert {found for found in ruff(safe) if found.startswith(("S", "TID"))} <= {"SIM115"}


def test_bandit_is_part_of_the_linters_and_finds_what_it_should(tmp_path):
    assert "-m bandit --quiet --recursive src benchmarks" in (ROOT / "Makefile").read_text()
    file = tmp_path / "new.py"
    file.write_text("import random\nimport subprocess\nsubprocess.run('x', shell=True)\n")
    assert "B602" in refused_by(["bandit", "--quiet", str(file)], "")
    file.write_text("import json\n")
    assert refused_by(["bandit", "--quiet", str(file)], "") == ""


def test_every_exception_says_why_on_its_line():
    lines = [line for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*.py") for line in path.read_text().splitlines()]
    excepted = [line for line in lines if "nosec" in line or "noqa: TID251" in line or "noqa: S" in line]
    assert excepted
    assert [
        line for line in excepted if len([part for part in line.split("  # ")[1:] if not part.startswith(("noqa", "nosec"))]) != 1
    ] == []
