"""The stage ``craft_poison``."""

from unlearnable.pipelines.craft_poison.pipeline import create_pipeline

__all__ = ["create_pipeline"]
