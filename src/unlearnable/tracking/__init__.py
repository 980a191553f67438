"""What a run records of itself, and how MLflow gets it. Kedro knows nothing of this package but through the hooks."""

from unlearnable.tracking.settings import TrackingSettings
from unlearnable.tracking.tracker import Tracker

__all__ = ["Tracker", "TrackingSettings"]
