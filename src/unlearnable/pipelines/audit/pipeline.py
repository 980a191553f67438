"""Wiring of ``audit``: trainings and probes of protected images, wired elsewhere, and the page about them."""

from kedro.pipeline import Node, Pipeline

from unlearnable.config.recipe import CELL_NAMES
from unlearnable.pipelines.audit.nodes import measure, reweight_last, score, write

NAMESPACE = "evaluation"
REWEIGHTED = ["poisoned_checkpoints", "clean_train", "clean_test", "params:model", "params:probe", "params:seed", "params:device"]
SCORED = {
    **{name: f"{name}_checkpoints" for name in ("clean", "poisoned", "recovered", "second")},
    "dfr": "audit_dfr",
    "seen": "audit_perceptibility",
    "perturbations": "perturbation_separability",
    "images": "clean_separability",
    "test": "clean_test",
    "second_recovery": "params:audit.recovery",
    **{name: f"params:{name}" for name in ("dataset", *CELL_NAMES)},
}


def create_pipeline() -> Pipeline:
    """Return the pipeline trainings, probes, examples_figure -> audit_scores, audit_page."""
    return Pipeline(
        [
            Node(reweight_last, REWEIGHTED, "audit_dfr", name="reweight_last_checkpoint", namespace=NAMESPACE),
            Node(measure, ["clean_train", "poisoned_train"], "audit_perceptibility", name="measure_perceptibility", namespace=NAMESPACE),
            Node(score, SCORED, "audit_scores", name="gather_audit_scores", namespace=NAMESPACE),
            Node(
                write, ["audit_scores", "examples_figure"], "audit_page", name="write_audit_page", namespace=NAMESPACE, tags="audit_scores"
            ),
        ]
    )
