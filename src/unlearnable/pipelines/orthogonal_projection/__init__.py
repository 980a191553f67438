"""The stage ``orthogonal_projection``."""

from unlearnable.pipelines.orthogonal_projection.pipeline import create_pipeline

__all__ = ["create_pipeline"]
