"""Wiring of ``train_poisoned``: the same node in four namespaces."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.train_poisoned.nodes import RECIPES, train

SETS = {"clean": "clean_train", "poisoned": "poisoned_train", "recovered": "recovered_train", "probed": "poisoned_train"}
BESIDE = {"compressed": "compressed_train"}  # of an audit alone
PARAMETERS = ("params:model", "params:train", "params:seed", "params:device")
MORE = {  # a recovery may change the training as well as the set
    "recovered": ("params:recovery", "params:recover"),
    "compressed": ("params:audit.recovery", "params:recover"),
}


def _training(label: str) -> Pipeline:
    function = update_wrapper(partial(train, label=label), train)
    sets = {
        "train_set": (SETS | BESIDE)[label],
        "clean_train": "clean_train",
        "clean_test": "clean_test",
        "unfinished": f"{label}_unfinished",
    }
    inputs = (*PARAMETERS, *MORE.get(label, ()))
    node = Node(function, [*sets, *inputs], "checkpoints", name="train", tags="training")
    outputs = {"checkpoints": f"{label}_checkpoints"}
    parameters = {name: name for name in inputs} | {"params:train": f"params:{RECIPES.get(label, 'train')}"}
    return Pipeline([node], namespace=label, inputs=sets, outputs=outputs, parameters=parameters)


def create_pipeline(*labels: str) -> Pipeline:
    """Return the pipeline image sets -> checkpoints of the trainings of these labels, or of all, a namespace each."""
    return sum((_training(label) for label in labels or SETS), Pipeline([]))
