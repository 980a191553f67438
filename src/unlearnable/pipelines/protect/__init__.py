"""The chain ``protect``."""

from unlearnable.pipelines.protect.pipeline import create_pipeline

__all__ = ["create_pipeline"]
