"""Wiring of ``orthogonal_projection``: the same node for the chosen recovery, and for the one that an audit sets beside it."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.orthogonal_projection.nodes import recover

SHARED = ("params:recover", "params:seed", "params:device")


def create_pipeline() -> Pipeline:
    """Return the pipeline poisoned_train -> linear_weights, recovered_train."""
    return _recovery("orthogonal_projection", "params:recovery", ["linear_weights", "recovered_train"])


def create_beside() -> Pipeline:
    """Return the pipeline poisoned_train -> compressed_weights, compressed_train."""
    return _recovery("compress", "params:audit.recovery", ["compressed_weights", "compressed_train"])


def _recovery(name: str, recovery: str, outputs: list[str]) -> Pipeline:
    return Pipeline([Node(recover, ["poisoned_train", recovery, *SHARED], outputs, name=name)])
