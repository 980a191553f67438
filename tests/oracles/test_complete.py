"""Every recovery, network, estimator and separability model is compared with a reference, or has what stands in for it."""

import ast
from pathlib import Path

import pytest

from tests.oracles.table import STAND_INS, referenced
from unlearnable.models import MODELS
from unlearnable.probes import ESTIMATORS
from unlearnable.probes.separability import SEPARATORS
from unlearnable.recoveries import RECOVERIES

PROJECT = Path(__file__).parents[2]
COVERED = {
    "recovery": set(RECOVERIES) - {"none"},
    "model": set(MODELS),
    "estimator": set(ESTIMATORS),
    "separability": set(SEPARATORS),
}


@pytest.mark.parametrize("kind", COVERED)
def test_each_has_numbers_or_a_stand_in(kind):
    named = {name.removeprefix(f"{kind} ") for name in referenced() | set(STAND_INS) if name.startswith(f"{kind} ")}
    assert named == COVERED[kind]


def test_none_has_both():
    assert not referenced() & set(STAND_INS)


@pytest.mark.parametrize("name", [name for name in STAND_INS if name.split()[0] in COVERED])
def test_what_stands_in_is_there(name):
    assert STAND_INS[name].why
    for test in STAND_INS[name].tests:
        file, _, function = test.partition("::")
        defined = {node.name for node in ast.parse((PROJECT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
        assert function.partition("[")[0] in defined, test
