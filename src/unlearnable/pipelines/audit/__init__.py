"""The stage ``audit``."""

from unlearnable.pipelines.audit.pipeline import create_pipeline

__all__ = ["create_pipeline"]
