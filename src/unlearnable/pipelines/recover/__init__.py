"""A recovery by its name: what Orthogonal Projection is one of."""

from unlearnable.pipelines.recover.pipeline import create_pipeline

__all__ = ["create_pipeline"]
