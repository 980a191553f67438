"""One training with a recovery by its name, for the stages that train."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import bar

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint

# What a training may be made on -> checkpoints to resume from, or all of them where another node has trained by this recipe.
Unfinished = Callable[[Mapping[str, str]], "Sequence[Checkpoint]"]


def nothing_done(here: Mapping[str, str]) -> "Sequence[Checkpoint]":  # noqa: ARG001
    """Return no checkpoints: the training starts at its beginning."""
    return ()


def trained(
    train_set: "LabelledImages",
    clean_train: "LabelledImages",
    clean_test: "LabelledImages",
    model: str,
    recipe: dict[str, Any],
    seed: int,
    device: str,
    recovery: str,
    settings: dict[str, Any],
    *,
    label: str,
    setting: str = "train",
    unfinished: Unfinished = nothing_done,
) -> "Iterator[Checkpoint]":
    """Train a new model on ``train_set`` by a recovery and yield its checkpoints, with a bar of its progress.

    ``settings`` is the block ``recover``, which may say more of the recovery. ``setting`` names the parameters of the recipe, for messages.
    All trainings of a cell normalise by the clean training set, so that they differ by their images, and by the recovery, alone.
    """
    from unlearnable.recoveries import recovery_named
    from unlearnable.training import fit_named, recipe_from
    from unlearnable.training.device import choose_device, enough_memory, made_on

    chosen = recovery_named(recovery, settings.get(recovery) or {})
    training = recipe_from(recipe)
    done = unfinished(made_on(choose_device(device), training.precision))
    if done and done[-1].is_last:
        yield from done
        return
    with bar(f"train on the {label} set") as progress, enough_memory(f"{setting}.batch_size"):
        yield from fit_named(
            model,
            train_set,
            chosen.test(clean_test, train_set),
            like=clean_train,
            recipe=training,
            seed=seed,
            device=device,
            progress=progress,
            done=done,
            method=chosen.method(clean_train, seed=seed),
        )
