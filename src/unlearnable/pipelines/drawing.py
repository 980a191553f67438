"""matplotlib, for the nodes that draw.

mlflow, which a thread imports while a run goes on, imports IPython; matplotlib takes one that is half imported for a whole one. So
whoever draws waits for it here.
"""

from contextlib import suppress

import matplotlib
from matplotlib.figure import Figure

with suppress(ImportError):
    import IPython  # noqa: F401

matplotlib.use("Agg")

__all__ = ["Figure"]
