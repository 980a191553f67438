"""Wiring of ``recover``: the same node for the chosen recovery, and for the second one of an audit."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.recover.nodes import recover

CHOSEN_BY = {"recovered": "params:recovery", "second": "params:audit.recovery"}
SHARED = ("params:recover", "params:seed", "params:device")


def create_pipeline(*labels: str) -> Pipeline:
    """Return the pipeline poisoned_train, clean_train -> recovered_train, or another set for each of the labels."""
    return Pipeline([_recovery(label) for label in labels or ("recovered",)])


def _recovery(label: str) -> Node:
    name = "recover_images" if label == "recovered" else f"recover_images_{label}"
    return Node(recover, ["poisoned_train", "clean_train", CHOSEN_BY[label], *SHARED], f"{label}_train", name=name)
