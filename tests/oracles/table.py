"""What each method is compared with: numbers that its public reference gave on the same input, or what stands in for them.

A reference's numbers lie in ``numbers/NAME.json``: ``of``, the methods that they are of; ``source`` and ``commit`` of the code that was
run; ``made``, how; ``numbers``. No code of a reference is kept here.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

NUMBERS = Path(__file__).with_name("numbers")


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A method without a reference that could be run.

    Args:
        why: there is none.
        tests: what holds it instead: a hand-computed case, a definition or a theorem.
    """

    why: str
    tests: tuple[str, ...]


REGIONS = StandIn(
    why="of its patterns only images were published, no code that draws them",
    tests=("tests/poisons/test_recipes.py::test_regions_are_flat_and_of_one_colour_a_class",),
)
PATCHES = StandIn(why=REGIONS.why, tests=("tests/poisons/test_recipes.py::test_patches_repeat_one_tile_a_class",))
STAND_INS: dict[str, StandIn] = {
    "poison regions_4": REGIONS,
    "poison regions_16": REGIONS,
    "poison l2_regions_4": replace(REGIONS, tests=("tests/poisons/test_recipes.py::test_l2_regions_have_their_norm_before_rounding",)),
    "poison patches_4": PATCHES,
    "poison patches_8": PATCHES,
}


@cache
def reference(name: str) -> dict[str, Any]:
    """Return what a file of numbers holds."""
    found: dict[str, Any] = json.loads((NUMBERS / f"{name}.json").read_text())
    return found


def numbers(name: str) -> Any:
    """Return the numbers of a file."""
    return reference(name)["numbers"]


def referenced() -> set[str]:
    """Return the methods of which a file has numbers."""
    return {method for file in NUMBERS.glob("*.json") for method in reference(file.stem)["of"]}
