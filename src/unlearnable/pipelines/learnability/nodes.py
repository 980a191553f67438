"""What networks near the one that was trained on protected images can reach at most."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unlearnable.origin import versions
from unlearnable.pipelines.progress import bar

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint


def certify(
    checkpoints: "Sequence[Checkpoint]",
    clean_train: "LabelledImages",
    clean_test: "LabelledImages",
    model: str,
    recipe: dict[str, Any],
    settings: dict[str, Any],
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Return the certified learnability of the last checkpoint, which saw images normalised by ``clean_train``."""
    from unlearnable.probes import LearnabilityRecipe, learnability
    from unlearnable.training import normalisation_of, recipe_from
    from unlearnable.training.device import choose_device, enough_memory

    training = recipe_from(recipe)
    with bar("certify learnability") as progress, enough_memory("ingest.test_size"):
        return learnability(
            checkpoints[-1],
            clean_test,
            model=model,
            training=training,
            recipe=LearnabilityRecipe(**settings),
            normalisation=normalisation_of(clean_train, training),
            seed=seed,
            device=choose_device(device),
            progress=progress,
        )


def score(found: dict[str, Any], checkpoints: "Sequence[Checkpoint]", **cell: Any) -> dict[str, Any]:
    """Return the cell with ``learnability``, less the accuracy of each draw."""
    last = checkpoints[-1]
    told = {name: value for name, value in found.items() if name not in ("accuracies", "seconds", "recipe_hash")}
    return {
        **cell,
        "learnability": told | {"draws": len(found["accuracies"])},
        "seconds": {"poisoned": last.seconds, "learnability": found["seconds"]},
        "threads": {"poisoned": last.threads},
        "made_on": {"poisoned": last.made_on},
        "versions": versions(),
    }
