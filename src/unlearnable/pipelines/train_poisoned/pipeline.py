"""Wiring of ``train_poisoned``: the same node in three namespaces."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.train_poisoned.nodes import train

SETS = {"clean": "clean_train", "poisoned": "poisoned_train", "recovered": "recovered_train"}
PARAMETERS = ("params:model", "params:train", "params:seed", "params:device")


def _training(label: str) -> Pipeline:
    function = update_wrapper(partial(train, label=label), train)
    sets = {"train_set": SETS[label], "clean_train": "clean_train", "clean_test": "clean_test", "unfinished": f"{label}_unfinished"}
    node = Node(function, [*sets, *PARAMETERS], "checkpoints", name="train", tags="training")
    outputs = {"checkpoints": f"{label}_checkpoints"}
    return Pipeline([node], namespace=label, inputs=sets, outputs=outputs, parameters=set(PARAMETERS))


def create_pipeline() -> Pipeline:
    """Return the pipeline clean_train | poisoned_train | recovered_train -> checkpoints, a namespace each."""
    return sum((_training(label) for label in SETS), Pipeline([]))
