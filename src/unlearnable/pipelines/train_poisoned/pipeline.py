"""Wiring of ``train_poisoned``: the same node for each set."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.train_poisoned.nodes import RECIPES, train

NAMESPACE = "trainings"
SETS = {"clean": "clean_train", "poisoned": "poisoned_train", "recovered": "recovered_train", "probed": "poisoned_train"}
BESIDE = {"second": "second_train", "tuned": "poisoned_train"}  # of an audit alone
MORE = {  # a recovery may change the training as well as the set
    "recovered": ("params:recovery", "params:recover"),
    "second": ("params:audit.recovery", "params:recover"),
}


def create_pipeline(*labels: str) -> Pipeline:
    """Return the pipeline image sets -> checkpoints of the trainings of these labels, or of all."""
    return Pipeline([_training(label) for label in labels or SETS])


def _training(label: str) -> Node:
    function = update_wrapper(partial(train, label=label), train)
    sets = [(SETS | BESIDE)[label], "clean_train", "clean_test"]
    recipe = f"params:{RECIPES.get(label, 'train')}"
    inputs = [*sets, "params:model", recipe, "params:seed", "params:device", *MORE.get(label, ())]
    return Node(function, inputs, f"{label}_checkpoints", name=f"train_{label}", namespace=NAMESPACE, tags="training")
