"""The pipelines that ``kedro run --pipeline=NAME`` knows: one a stage, and the chains from raw data to the table."""

from kedro.pipeline import Pipeline

from unlearnable.pipelines import craft_poison, evaluate, ingest, orthogonal_projection, train_poisoned


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    stages = {
        "ingest": ingest.create_pipeline(),
        "craft_poison": craft_poison.create_pipeline(),
        "orthogonal_projection": orthogonal_projection.create_pipeline(),
        "train_poisoned": train_poisoned.create_pipeline(),
        "evaluate": evaluate.create_pipeline(),
    }
    everything = sum(stages.values(), Pipeline([]))
    return {**stages, "orthoproj": everything, "__default__": everything}
