"""Wiring of ``audit``: what an owner asks of protected images, from trainings that others wire to one page."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.audit.nodes import measure, reweight_last, score, write

TRAININGS = {name: f"{name}_checkpoints" for name in ("clean", "poisoned", "recovered", "compressed")}
REWEIGHTED = ["poisoned_checkpoints", "clean_train", "clean_test", "params:model", "params:probe", "params:seed", "params:device"]
SCORED = {
    **TRAININGS,
    "dfr": "audit_dfr",
    "seen": "audit_perceptibility",
    "perturbations": "perturbation_separability",
    "images": "clean_separability",
    "test": "clean_test",
    "parameters": "parameters",
}


def create_pipeline() -> Pipeline:
    """Return the pipeline trainings, probes, examples_figure -> audit_scores, audit_page."""
    return Pipeline(
        [
            Node(reweight_last, REWEIGHTED, "audit_dfr", name="reweight_last_checkpoint"),
            Node(measure, ["clean_train", "poisoned_train"], "audit_perceptibility", name="measure_perceptibility"),
            Node(score, SCORED, "audit_scores", name="gather_audit_scores"),
            Node(write, ["audit_scores", "examples_figure"], "audit_page", name="write_audit_page"),
        ]
    )
