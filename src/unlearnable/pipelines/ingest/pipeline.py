"""Wiring of ``ingest``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.ingest.nodes import select


def create_pipeline() -> Pipeline:
    """Return the pipeline raw_images -> clean_train, clean_test."""
    return Pipeline([Node(select, ["raw_images", "params:ingest"], ["clean_train", "clean_test"], name="select_images")])
