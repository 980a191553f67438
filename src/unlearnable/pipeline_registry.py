"""The pipelines that ``kedro run --pipeline=NAME`` knows: one a stage, and the chains from raw data to the table."""

from kedro.pipeline import Pipeline

from unlearnable.pipelines import (
    audit,
    craft_poison,
    evaluate,
    ingest,
    orthogonal_projection,
    probe_checkpoints,
    separability_analysis,
    train_poisoned,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    stages = {
        "ingest": ingest.create_pipeline(),
        "craft_poison": craft_poison.create_pipeline(),
        "separability_analysis": separability_analysis.create_pipeline(),
        "orthogonal_projection": orthogonal_projection.create_pipeline(),
        "train_poisoned": train_poisoned.create_pipeline(),
        "probe_checkpoints": probe_checkpoints.create_pipeline(),
        "evaluate": evaluate.create_pipeline(),
    }
    poisoned = stages["ingest"] + stages["craft_poison"]
    recovered = poisoned + stages["orthogonal_projection"] + train_poisoned.create_pipeline("clean", "poisoned", "recovered")
    chains = {
        "orthoproj": recovered + evaluate.create_pipeline("orthoproj"),
        "recover": recovered + evaluate.create_pipeline("recover"),
        "dfr": poisoned + train_poisoned.create_pipeline("probed") + stages["probe_checkpoints"] + evaluate.create_pipeline("dfr"),
        "separability": poisoned + stages["separability_analysis"] + evaluate.create_pipeline("separability"),
        "audit": recovered
        + orthogonal_projection.create_beside()
        + train_poisoned.create_pipeline("compressed")
        + stages["separability_analysis"]
        + evaluate.create_pipeline("examples")
        + audit.create_pipeline(),
    }
    return {**stages, **chains, "__default__": sum(stages.values(), Pipeline([]))}
