"""Imports MLflow, with all that feeding it imports: for a process whose forks are to have it."""

from unlearnable.tracking.server import load_mlflow

load_mlflow()

import mlflow.store.tracking.sqlalchemy_store  # noqa: E402
import mlflow.tracking.context.registry  # noqa: E402, F401
