"""Wiring of ``probe_checkpoints``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.probe_checkpoints.nodes import reweight


def create_pipeline() -> Pipeline:
    """Return the pipeline probed_checkpoints, clean images -> dfr_table."""
    sets = ["probed_checkpoints", "clean_train", "clean_test"]
    parameters = ["params:model", "params:probe", "params:seed", "params:device"]
    return Pipeline([Node(reweight, [*sets, *parameters], "dfr_table", name="probe_checkpoints", tags=["probing", "dfr_scores"])])
