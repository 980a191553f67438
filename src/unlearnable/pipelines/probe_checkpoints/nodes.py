"""What the network learned: a new head for every checkpoint."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import log_round
from unlearnable.pipelines.reweighting import reweighted

if TYPE_CHECKING:
    import pandas as pd

    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint


def reweight(
    checkpoints: "Sequence[Checkpoint]",
    clean_train: "LabelledImages",
    clean_test: "LabelledImages",
    model: str,
    settings: dict[str, Any],
    seed: int,
    device: str,
) -> "pd.DataFrame":
    """Return a row for each checkpoint, estimator and number of clean samples, and for the network before its first step."""
    import pandas as pd

    told = partial(log_round, "probing", "epoch")
    return pd.DataFrame(reweighted(checkpoints, clean_train, clean_test, model, settings, seed, device, report=told))
