"""The stage ``evaluate``."""

from unlearnable.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
