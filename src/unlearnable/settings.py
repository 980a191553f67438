"""Kedro's settings of this project."""

from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.hooks import CheckHooks, SummaryHooks, TrackingHooks

CONFIG_LOADER_CLASS = RecipeConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"]},
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
}
HOOKS = (CheckHooks(), SummaryHooks(), TrackingHooks())
