"""Wiring of ``protect``."""

from kedro.pipeline import Node, Pipeline

from unlearnable.pipelines.protect.nodes import craft, look, protect

CHOSEN = ["params:poison", "params:craft", "params:device"]


def create_pipeline() -> Pipeline:
    """Return the pipeline originals -> protected_images."""
    return Pipeline(
        [
            Node(look, "originals", "seen_originals", name="look_at_originals"),
            Node(craft, ["seen_originals", *CHOSEN], "protection", name="craft_protection", tags="crafting"),
            Node(protect, ["originals", "protection", "params:protect.format"], "protected_images", name="protect_images"),
        ]
    )
