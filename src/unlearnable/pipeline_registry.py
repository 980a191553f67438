"""The pipelines that ``kedro run --pipeline=NAME`` knows: one a stage, and the chains from raw data to the table."""

from kedro.pipeline import Pipeline

from unlearnable.pipelines import (
    audit,
    craft_poison,
    evaluate,
    ingest,
    learnability,
    orthogonal_projection,
    probe_checkpoints,
    protect,
    recover,
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
    trained = train_poisoned.create_pipeline("clean", "poisoned", "recovered")
    chains = {
        "recover": poisoned + recover.create_pipeline() + trained + evaluate.create_pipeline("recover"),
        "orthoproj": poisoned + stages["orthogonal_projection"] + trained + evaluate.create_pipeline("orthoproj"),
        "dfr": poisoned + train_poisoned.create_pipeline("probed") + stages["probe_checkpoints"] + evaluate.create_pipeline("dfr"),
        "separability": poisoned + stages["separability_analysis"] + evaluate.create_pipeline("separability"),
        "learnability": poisoned + train_poisoned.create_pipeline("poisoned") + learnability.create_pipeline(),
        "audit": poisoned
        + recover.create_pipeline("recovered", "second")
        + trained
        + train_poisoned.create_pipeline("second", "tuned")
        + stages["separability_analysis"]
        + audit.create_pipeline(),
        "protect": protect.create_pipeline(),
    }
    return {**chains, **stages, "__default__": sum(stages.values(), Pipeline([]))}
