"""Measurements that back the figures in docs/results; they run from the checkout, with nothing of it installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
