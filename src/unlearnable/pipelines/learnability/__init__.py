"""The stage ``learnability``."""

from unlearnable.pipelines.learnability.pipeline import create_pipeline

__all__ = ["create_pipeline"]
