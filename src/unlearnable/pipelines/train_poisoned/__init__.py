"""The stage ``train_poisoned``."""

from unlearnable.pipelines.train_poisoned.pipeline import create_pipeline

__all__ = ["create_pipeline"]
