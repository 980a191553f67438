"""What a run records about itself, and how that reaches MLflow. Kedro knows this package only through its hooks."""

from unlearnable.tracking.settings import TrackingSettings
from unlearnable.tracking.tracker import Tracker

__all__ = ["Tracker", "TrackingSettings"]
