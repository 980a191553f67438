"""Learning rates of the published recipes beside those of their references."""

from pathlib import Path

import pytest
import yaml

from tests.oracles.table import numbers
from unlearnable.training import TrainingRecipe, recipe_from

CONF = Path(__file__).parents[2] / "conf" / "cifar10" / "parameters.yml"
EXPECTED = {name: {int(epoch): rate for epoch, rate in rates.items()} for name, rates in numbers("schedules").items()}
WARM, EPOCHS = 5, 50  # of the published vision transformer


def published(model: str, *, probed: bool = False) -> TrainingRecipe:
    settings = yaml.safe_load(CONF.read_text())
    stages = [settings["train"], *([settings["probe"]["train"]] if probed else [])]
    own = {name: value for stage in stages for name, value in ({"learning_rate": 0.1} | stage["by_model"][model]).items()}
    return recipe_from(own)


def rate(recipe: TrainingRecipe, epochs_done: float) -> float:
    return recipe.learning_rate * recipe.learning_rate_factor(epochs_done)


@pytest.mark.parametrize(("name", "probed"), [("multistep", False), ("cosine", True)])
def test_rates_of_resnet18_are_those_of_the_reference(name, probed):
    recipe = published("resnet18", probed=probed)
    assert {epoch: rate(recipe, epoch) for epoch in EXPECTED[name]} == pytest.approx(EXPECTED[name], rel=1e-6)


def test_the_transformer_warms_up_as_in_the_reference():
    recipe = published("vit_patch4")
    assert {epoch: rate(recipe, epoch) for epoch in EXPECTED["warm_up"]} == pytest.approx(EXPECTED["warm_up"], rel=1e-6)


def test_the_transformers_cosine_is_that_of_the_reference_pressed_into_the_training():
    """Theirs begins an epoch later and is one of 50 epochs, so that it does not come to its end."""
    recipe = published("vit_patch4")
    pressed = {epoch: rate(recipe, WARM + (epoch - WARM - 1) * (EPOCHS - WARM) / EPOCHS) for epoch in EXPECTED["after_warm_up"]}
    assert pressed == pytest.approx(EXPECTED["after_warm_up"], rel=1e-6)
