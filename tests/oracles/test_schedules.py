"""Learning rates of the published recipes, and the loss of SimCLR, beside those of their references."""

from pathlib import Path

import pytest
import yaml

from tests.oracles.inputs import weights
from tests.oracles.table import numbers
from unlearnable.training import TrainingRecipe, recipe_from
from unlearnable.training.simclr import nt_xent

CONF = Path(__file__).parents[2] / "conf" / "cifar10" / "parameters.yml"
EXPECTED = {name: {int(epoch): rate for epoch, rate in rates.items()} for name, rates in numbers("schedules").items()}


def published(model: str, *, probed: bool = False) -> TrainingRecipe:
    settings = yaml.safe_load(CONF.read_text())
    stages = [settings["train"], *([settings["probe"]["train"]] if probed else [])]
    own = {name: value for stage in stages for name, value in ({"learning_rate": 0.1} | stage["by_model"][model]).items()}
    return recipe_from(own)


def rate(recipe: TrainingRecipe, epochs_done: float) -> float:
    return recipe.learning_rate * recipe.learning_rate_factor(epochs_done)


@pytest.mark.parametrize("within", [0.0, 0.6])
@pytest.mark.parametrize(("name", "probed"), [("multistep", False), ("cosine", True)])
def test_rates_of_resnet18_are_those_of_the_reference(name, probed, within):
    recipe = published("resnet18", probed=probed)
    assert {epoch: rate(recipe, epoch + within) for epoch in EXPECTED[name]} == pytest.approx(EXPECTED[name], rel=1e-6)


@pytest.mark.parametrize("part", ["warm_up", "after_warm_up"])
def test_rates_of_the_transformer_are_those_of_the_reference(part):
    """It has two epochs of the largest rate: the scheduler of its cosine is not stepped in the first epoch after the warm-up."""
    recipe = published("vit_patch4")
    assert {epoch: rate(recipe, epoch) for epoch in EXPECTED[part]} == pytest.approx(EXPECTED[part], rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 0.1])
def test_the_loss_of_simclr_is_that_of_the_reference(temperature):
    """Ours takes all first views before all second ones."""
    found = nt_xent(weights(2, 8, 5).flatten(0, 1), temperature)
    assert float(found) == pytest.approx(numbers("simclr")[str(temperature)], rel=1e-5)
