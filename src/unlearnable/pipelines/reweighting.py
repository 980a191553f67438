"""Deep feature reweighting of checkpoints, for the stages that ask it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import bar

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.training import Checkpoint


def reweighted(
    checkpoints: "Sequence[Checkpoint]",
    clean_train: "LabelledImages",
    clean_test: "LabelledImages",
    model: str,
    settings: dict[str, Any],
    seed: int,
    device: str,
    *,
    report: "Callable[[int, dict[str, float]], None] | None" = None,
) -> list[dict[str, Any]]:
    """Return what ``probes.reweight`` finds by the settings ``probe``, with a bar of its progress."""
    from unlearnable.probes import ReweightingRecipe, reweight
    from unlearnable.training import no_report, recipe_from
    from unlearnable.training.device import choose_device, enough_memory

    own = {name: value for name, value in settings.items() if name != "train"}
    with bar("probe checkpoints") as progress, enough_memory("probe.clean_samples"):
        return reweight(
            checkpoints,
            clean_train,
            clean_test,
            model=model,
            training=recipe_from(settings["train"]),
            recipe=ReweightingRecipe(**own),
            seed=seed,
            device=choose_device(device),
            progress=progress,
            report=report or no_report,
        )
