"""Kedro's settings of this project."""

import warnings

from unlearnable.config.graph import Graph
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.recipe import CHOICES, IGNORED, KNOWN_AS
from unlearnable.hooks import ArtifactHooks, CheckHooks, InterruptHooks, RefusalHooks, StorageHooks, SummaryHooks, reports
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.session import Session
from unlearnable.tracking.hooks import TrackingHooks

# Kedro calls an older name of OmegaConf's; not for our users to read at every run.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")

SESSION_CLASS = Session
CONFIG_LOADER_CLASS = RecipeConfigLoader
CONFIG_LOADER_ARGS = {
    "graph": Graph(pipelines=register_pipelines, choices=CHOICES, ignored=IGNORED, known_as=KNOWN_AS),
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"], "storage": ["storage*"]},
    "merge_strategy": {"parameters": "soft", "mlflow": "soft", "storage": "soft"},
}
HOOKS = (RefusalHooks(), CheckHooks(), ArtifactHooks(), StorageHooks(), InterruptHooks(), SummaryHooks(), TrackingHooks(reports))
