"""Wiring of ``audit``: trainings and probes of protected images, wired elsewhere, and the page about them."""

from kedro.pipeline import Node, Pipeline

from unlearnable.config.recipe import CELL_NAMES
from unlearnable.pipelines.audit.nodes import SETS, TRAININGS, detect, draw_compared, measure, repeat, reweight_last, score, write

NAMESPACE = "evaluation"
CELL = {name: f"params:{name}" for name in ("dataset", *CELL_NAMES)}
REWEIGHTED = ["poisoned_checkpoints", "clean_train", "clean_test", "params:model", "params:probe", "params:seed", "params:device"]
RECOVERIES = {"recovery": "params:recovery", "second_recovery": "params:audit.recovery"}
RECIPES = {"recipe": "params:train", "tuned_recipe": "params:audit.train"}
REPEATED = {
    **{name: f"{name}_train" for name in SETS},
    **RECOVERIES,
    "test": "clean_test",
    "seeds": "params:audit.seeds",
    **RECIPES,
    **{name: f"params:{name}" for name in ("recover", "model", "probe", "seed", "device")},
}
SCORED = {
    **{name: f"{name}_checkpoints" for name in TRAININGS},
    "dfr": "audit_dfr",
    "repeats": "audit_repeats",
    "seen": "audit_perceptibility",
    "perturbations": "perturbation_separability",
    "images": "clean_separability",
    "detection": "detection",
    "test": "clean_test",
    "second_recovery": "params:audit.recovery",
    **RECIPES,
    **CELL,
}
COMPARED = {"original": "clean_train", "protected": "poisoned_train", "recovered": "recovered_train"} | CELL


def create_pipeline() -> Pipeline:
    """Return the pipeline trainings, probes -> detection, audit_repeats, audit_scores, audit_page."""
    return Pipeline(
        [
            Node(reweight_last, REWEIGHTED, "audit_dfr", name="reweight_last_checkpoint", namespace=NAMESPACE),
            Node(measure, ["clean_train", "poisoned_train"], "audit_perceptibility", name="measure_perceptibility", namespace=NAMESPACE),
            Node(detect, ["poisoned_train", "params:seed", "params:device"], "detection", name="detect_protection", namespace=NAMESPACE),
            Node(repeat, REPEATED, "audit_repeats", name="repeat_trainings", namespace="trainings"),
            Node(score, SCORED, "audit_scores", name="gather_audit_scores", namespace=NAMESPACE),
            Node(draw_compared, COMPARED, "audit_figure", name="draw_compared", namespace=NAMESPACE, tags="audit_scores"),
            Node(write, ["audit_scores", "audit_figure"], "audit_page", name="write_audit_page", namespace=NAMESPACE, tags="audit_scores"),
        ]
    )
