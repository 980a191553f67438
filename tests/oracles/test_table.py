"""Each method has numbers of its reference, or says what holds it instead."""

import ast
import re

from tests.conftest import ROOT
from tests.oracles.table import NUMBERS, STAND_INS, reference, referenced
from unlearnable.poisons import POISONS

LARGEST = 20_000  # bytes of a file of numbers: they are to be read, and to be counted by hand where one is doubted


def test_every_poison_has_numbers_or_a_stand_in():
    wanted = {f"poison {name}" for name in POISONS} - {"poison none"}
    known = {method for method in referenced() | set(STAND_INS) if method.startswith("poison ")}
    assert known == wanted


def test_no_stand_in_is_kept_beside_numbers():
    assert set(STAND_INS) & referenced() == set()


def test_each_test_that_stands_in_is_there():
    for method, stand_in in STAND_INS.items():
        assert stand_in.why, method
        assert stand_in.tests, method
        for test in stand_in.tests:
            file, name = test.partition("[")[0].split("::")
            functions = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
            assert name in functions, f"{method}: {test}"


def test_numbers_say_what_they_are_of_and_where_they_are_from():
    files = sorted(NUMBERS.glob("*.json"))
    assert files
    for file in files:
        found = reference(file.stem)
        assert set(found) == {"of", "source", "commit", "made", "numbers"}, file.name
        assert found["of"], file.name
        assert all(re.fullmatch(r"[a-z]+ \S.*", method) for method in found["of"]), file.name
        assert found["source"].startswith("github.com/"), file.name
        assert re.fullmatch("[0-9a-f]{40}", found["commit"]), file.name
        assert found["made"], file.name
        assert found["numbers"], file.name
        assert file.stat().st_size < LARGEST, file.name
