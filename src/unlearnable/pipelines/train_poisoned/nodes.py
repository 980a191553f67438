"""One training, on whichever set the pipeline's namespace hands in."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import bar

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint


def train(
    train_set: "LabelledImages",
    clean_train: "LabelledImages",
    clean_test: "LabelledImages",
    unfinished: "Sequence[Checkpoint]",
    model: str,
    recipe: dict[str, Any],
    seed: int,
    device: str,
    *,
    label: str,
) -> "Iterator[Checkpoint]":
    """Train a new model on ``train_set`` and yield its checkpoints, each saved before the next epoch starts.

    Where an earlier run was cut off, its ``unfinished`` checkpoints are yielded first, and the training goes on from the last.
    All trainings of a cell normalise by the clean training set, so that they differ by their images alone.
    """
    from unlearnable.training import fit_named, recipe_from

    with bar(f"train on the {label} set") as progress:
        yield from fit_named(
            model,
            train_set,
            clean_test,
            like=clean_train,
            recipe=recipe_from(recipe),
            seed=seed,
            device=device,
            progress=progress,
            done=unfinished,
        )
