"""One training, on the set that the pipeline gives it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.training import Unfinished, nothing_done, trained

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint

UNFINISHED = "unfinished"  # beside the settings of a recipe, where a hook has put it
# Parameters of a training, where they are not those of ``train``: the paper trains what it probes by another recipe; an audit may
# fine-tune.
RECIPES = {"probed": "probe.train", "tuned": "audit.train"}


def train(
    train_set: "LabelledImages",
    clean_train: "LabelledImages",
    clean_test: "LabelledImages",
    model: str,
    recipe: dict[str, Any],
    seed: int,
    device: str,
    recovery: str = "none",
    settings: dict[str, Any] | None = None,
    *,
    label: str,
) -> "Iterator[Checkpoint]":
    """Train a new model on ``train_set`` and yield its checkpoints, each saved before the next epoch starts.

    If an earlier run was interrupted, its checkpoints are yielded first, and the training resumes from the last. A hook puts the function
    that returns them into the recipe. A training that began on another kind of device, or in another precision, starts again.
    """
    unfinished: Unfinished = recipe.get(UNFINISHED, nothing_done)
    own = {name: value for name, value in recipe.items() if name != UNFINISHED}
    shared = (train_set, clean_train, clean_test, model, own, seed, device)
    yield from trained(*shared, recovery, settings or {}, label=label, setting=RECIPES.get(label, "train"), unfinished=unfinished)
