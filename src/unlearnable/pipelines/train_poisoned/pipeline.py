"""Wiring of ``train_poisoned``: the same node in three namespaces."""

from functools import partial

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.train_poisoned.nodes import train

SETS = {"clean": "clean_train", "poisoned": "poisoned_train", "recovered": "recovered_train"}


def _training(label: str) -> Pipeline:
    inputs = ["train_set", "clean_train", "clean_test", "params:model", "params:train", "params:seed", "params:device"]
    node = Node(partial(train, label=label), inputs, "checkpoints", name="train", tags="training")
    shared = {name: name for name in inputs[1:]}
    return Pipeline([node], namespace=label, inputs={"train_set": SETS[label], **{k: v for k, v in shared.items() if ":" not in k}}, parameters=set(inputs[3:]))


def create_pipeline() -> Pipeline:
    """Return the pipeline clean_train | poisoned_train | recovered_train -> checkpoints, a namespace each."""
    return sum((_training(label) for label in SETS), Pipeline([]))
