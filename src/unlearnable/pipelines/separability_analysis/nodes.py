"""How well simple models tell the classes of perturbations apart, and those of clean images as a reference."""

from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import bar

if TYPE_CHECKING:
    from torch import Tensor

    from unlearnable.images import LabelledImages


def analyse_perturbations(clean: "LabelledImages", poisoned: "LabelledImages", settings: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the separability of poisoned less clean images."""
    from unlearnable.probes import perturbations

    return _analyse("perturbations", perturbations(clean, poisoned), poisoned, settings, device)


def analyse_clean(clean: "LabelledImages", settings: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the separability of the clean images themselves."""
    import torch

    return _analyse("clean images", torch.from_numpy(clean.images), clean, settings, device)


def _analyse(what: str, values: "Tensor", labelled: "LabelledImages", settings: dict[str, Any], device: str) -> dict[str, Any]:
    import torch

    from unlearnable.probes import SeparabilityRecipe, separability
    from unlearnable.training.device import choose_device, enough_memory

    labels, classes = torch.from_numpy(labelled.labels), labelled.num_classes
    with bar(f"separability of {what}") as progress, enough_memory("ingest.train_size"):
        recipe = SeparabilityRecipe(**settings)
        return separability(values, labels, num_classes=classes, recipe=recipe, device=choose_device(device), progress=progress)
