"""What runs on a pretended GPU is refused nothing, computes the same, and neither waits for it nor keeps it busy with much."""

import pytest

from tests.forks import printed_last
from unlearnable.poisons import POISONS
from unlearnable.recoveries import RECOVERIES

WAITS = {"plain": 0, "published": 0, "randaugment": 2, "ueraser_lite": 2, "ueraser_max": 2}
KERNELS = {"plain": 22, "published": 60, "randaugment": 150, "ueraser_lite": 180, "ueraser_max": 400}  # beside those of the bare network


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What a process of its own has seen."""
    return printed_last("tests.gpu", [], tmp_path_factory.mktemp("gpu") / "seen")


def test_everything_computes_there_what_it_computes_on_the_cpu(seen):
    assert {f"recovery {name}" for name in RECOVERIES} | {f"poison {name}" for name in POISONS} <= seen["same"].keys()
    assert [name for name, same in seen["same"].items() if not same] == []


def test_nothing_mixes_devices_or_draws_from_a_generator_of_the_cpu(seen):
    assert {name: faults for name, faults in seen["faults"].items() if faults} == {}


@pytest.mark.parametrize("name", WAITS)
def test_a_step_hardly_waits_and_has_few_kernels(name, seen):
    step, bare = seen["steps"][name], seen["steps"]["bare"]
    assert step["waits"] <= WAITS[name], step["places"]
    assert step["kernels"] - bare["kernels"] <= KERNELS[name]


@pytest.mark.parametrize(("name", "waits"), [("asks", 1), ("sends", 1), ("chooses", 2)])
def test_a_careless_step_is_seen_to_wait(name, waits, seen):
    """It asks for a number, sends a tensor without need, or chooses images by a mask."""
    assert seen["twins"][name]["waits"] == waits


def test_a_step_with_tensors_of_two_devices_is_refused(seen):
    assert [fault.partition(" ")[2] for fault in seen["twins"]["mixes"]["faults"]] == ["aten.add.Tensor: tensors of two devices"]


def test_kernels_of_a_careless_step_are_counted(seen):
    """It adds up its images one after the other: eight more kernels, and eight that take them apart are views."""
    assert seen["twins"]["one by one"]["kernels"] - seen["twins"]["none"]["kernels"] >= 8
