"""The stage ``probe_checkpoints``."""

from unlearnable.pipelines.probe_checkpoints.pipeline import create_pipeline

__all__ = ["create_pipeline"]
