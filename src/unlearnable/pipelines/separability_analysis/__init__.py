"""The stage ``separability_analysis``."""

from unlearnable.pipelines.separability_analysis.pipeline import create_pipeline

__all__ = ["create_pipeline"]
