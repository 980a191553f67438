"""What the network learned: a new head for every checkpoint."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import bar, log_round

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

    from unlearnable.probes import ReweightingRecipe, reweight
    from unlearnable.training import recipe_from
    from unlearnable.training.device import choose_device

    own = {name: value for name, value in settings.items() if name != "train"}
    with bar("probe checkpoints") as progress:
        rows = reweight(
            checkpoints,
            clean_train,
            clean_test,
            model=model,
            training=recipe_from(settings["train"]),
            recipe=ReweightingRecipe(**own),
            seed=seed,
            device=choose_device(device),
            progress=progress,
            report=partial(log_round, "probing", "epoch"),
        )
    return pd.DataFrame(rows)
