"""One training, on the set that the pipeline gives it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import bar

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint

Unfinished = Callable[[Mapping[str, str]], "Sequence[Checkpoint]"]  # what a training may be made on -> checkpoints to go on from
UNFINISHED = "unfinished"  # beside the settings of a recipe, where a hook has put it
# Parameters of a training, where they are not those of ``train``: the paper trains what it probes by another recipe.
RECIPES = {"probed": "probe.train"}


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
    All trainings of a cell normalise by the clean training set, so that they differ by their images, and by the recovery, alone.
    """
    from unlearnable.recoveries import recovery_named
    from unlearnable.training import fit_named, recipe_from
    from unlearnable.training.device import choose_device, enough_memory, made_on

    unfinished: Unfinished = recipe.get(UNFINISHED, lambda here: ())  # noqa: ARG005
    chosen = recovery_named(recovery, (settings or {}).get(recovery) or {})
    training = recipe_from({name: value for name, value in recipe.items() if name != UNFINISHED})
    with bar(f"train on the {label} set") as progress, enough_memory(f"{RECIPES.get(label, 'train')}.batch_size"):
        yield from fit_named(
            model,
            train_set,
            chosen.test(clean_test, train_set),
            like=clean_train,
            recipe=training,
            seed=seed,
            device=device,
            progress=progress,
            done=unfinished(made_on(choose_device(device), training.precision)),
            method=chosen.method(clean_train, seed=seed),
        )
