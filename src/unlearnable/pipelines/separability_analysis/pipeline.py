"""Wiring of ``separability_analysis``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.separability_analysis.nodes import analyse_clean, analyse_perturbations

NAMESPACE = "separability"
PARAMETERS = ("params:separability", "params:device")


def create_pipeline() -> Pipeline:
    """Return the pipeline clean_train, poisoned_train -> perturbation_separability, clean_separability."""
    perturbations = ["clean_train", "poisoned_train", *PARAMETERS]
    return Pipeline(
        [
            Node(analyse_perturbations, perturbations, "perturbation_separability", name="analyse_perturbations", namespace=NAMESPACE),
            Node(analyse_clean, ["clean_train", *PARAMETERS], "clean_separability", name="analyse_clean", namespace=NAMESPACE),
        ]
    )
