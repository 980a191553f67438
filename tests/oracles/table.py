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
    "poison regions_64": REGIONS,
    "poison l2_regions_4": replace(REGIONS, tests=("tests/poisons/test_recipes.py::test_l2_regions_have_their_norm_before_rounding",)),
    "poison patches_4": PATCHES,
    "poison patches_8": PATCHES,
    "recovery gaussian_noise": StandIn(
        why="APBench has an option of such a name (train.py, --rnoise) and no code for it",
        tests=("tests/oracles/test_recoveries.py::test_noise_is_normal_and_of_its_deviation",),
    ),
    "recovery median_filter": StandIn(
        why="the reference filters a tensor along the wrong axes; held to Pillow's filter",
        tests=("tests/recoveries/test_battery.py::test_a_median_is_pillows",),
    ),
    "recovery early_stopping": StandIn(
        why="the repositories give the last epoch, or the best one on test images",
        tests=("tests/recoveries/test_battery.py::test_early_stopping_measures_clean_images_and_trains_as_the_control",),
    ),
    "recovery class_mean_projection": StandIn(
        why="an ablation of ours",
        tests=("tests/recoveries/test_battery.py::test_class_means_are_gone_where_they_are_removed",),
    ),
    "recovery pca_removal": StandIn(
        why="an ablation of ours; held to scikit-learn's components",
        tests=("tests/recoveries/test_battery.py::test_principal_components_are_those_of_scikit_learn",),
    ),
    "recovery pairs": StandIn(
        why="the paper of this threat model trains a diffusion bridge instead; the map is held to NumPy's least squares",
        tests=(
            "tests/recoveries/test_pairs.py::test_a_perturbation_of_each_class_is_gone_from_one_pair_a_class_on",
            "tests/recoveries/test_pairs.py::test_the_linear_map_is_that_of_numpys_least_squares",
        ),
    ),
    "recovery dfr": StandIn(
        why="a head that is fitted once to clean images, as the estimator frozen",
        tests=("tests/recoveries/test_battery.py::test_a_new_head_takes_the_place_of_the_last_one_and_of_nothing_else",),
    ),
    "estimator frozen": StandIn(
        why="the reference fits in training mode alone; held to scikit-learn's fit to the features",
        tests=("tests/probes/test_reweighting.py::test_frozen_is_scikit_learns_fit_to_the_features",),
    ),
    "estimator recalibrated": StandIn(
        why="ours, between the textbook's estimator and the reference's",
        tests=("tests/probes/test_reweighting.py::test_recalibrated_normalises_by_the_clean_views",),
    ),
    "model small_cnn": StandIn(
        why="a network of ours",
        tests=("tests/models/test_published.py::test_parameters_and_multiplications_of_small_images[small_cnn]",),
    ),
    "model tiny_cnn": StandIn(
        why="a network of ours",
        tests=("tests/models/test_published.py::test_parameters_and_multiplications_of_small_images[tiny_cnn]",),
    ),
    "model fast_cnn_learned": StandIn(
        why="a network of ours",
        tests=("tests/models/test_published.py::test_parameters_and_multiplications_of_small_images[fast_cnn_learned]",),
    ),
    "model fast_cnn": StandIn(
        why="ours, narrower than airbench94",
        tests=(
            "tests/models/test_published.py::test_parameters_and_multiplications_of_small_images[fast_cnn]",
            "tests/models/test_whitening.py::test_what_it_gives_is_uncorrelated_with_a_variance_near_one",
        ),
    ),
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
