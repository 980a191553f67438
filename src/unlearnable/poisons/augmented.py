"""AUE and AAP: Wang et al., "Efficient Availability Attacks against Supervised and Contrastive Learning Simultaneously" (NeurIPS 2024).

Error-minimising noise (``aue``) and adversarial examples (``aap``) whose surrogate, and whose own steps, see images through the strong
augmentation of contrastive learning. So networks that learn without labels learn this noise too; they hardly learn the plain ones.
"""

from functools import partial
from typing import Annotated

from torch import Tensor

from unlearnable.adversarial import Objective, descend
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.poisons.robust_error_minimising import Steps
from unlearnable.poisons.surrogate import FALLING, Surrogate, Workshop
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE_FRACTION
from unlearnable.training import TrainingRecipe
from unlearnable.training.simclr import strong_view

PUBLISHED = Surrogate(weight_decay=1e-4)
NOISE = Steps(step=0.8 / 255, steps=5)
PUBLISHED_AAP = Surrogate(learning_rate=0.5, weight_decay=1e-4)
ATTACK = Steps(step=0.08 / 255, steps=250)


@POISONS.add("aue")
def aue(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED,
    epochs: Annotated[int, AT_LEAST_ONE] = 60,
    strength: Annotated[float, POSITIVE_FRACTION] = 0.6,
    noise: Steps = NOISE,
) -> Perturbation:
    """Return error-minimising noise that withstands the augmentation of contrastive learning.

    Args:
        clean: images (N, C, H, W).
        crafting: what decides draws, device and reports.
        surrogate: the network and its training (published: ResNet-18, batches of 128).
        epochs: in each, the surrogate is trained on all images, then the noise on each takes its steps.
        strength: of the augmentation (published: 0.6 for CIFAR-10, 1 for CIFAR-100).
        noise: its bound and steps; a step sees another view (published: 5 steps of 0.8/255 within 8/255).
    """
    workshop = Workshop(clean, crafting, surrogate, "aue", schedule={"epochs": epochs, **FALLING})
    view = partial(strong_view, strength=strength, generator=workshop.generator)

    def moved(batch: Tensor, delta: Tensor, done: int) -> Tensor:  # noqa: ARG001
        losses = _through(view, workshop.losses(workshop.labels[batch]))
        return descend(losses, workshop.images(batch), delta, linf=noise.linf, step=noise.step, steps=noise.steps)

    return workshop.taking_turns(lambda batch, delta: view(workshop.images(batch) + delta), moved, surrogate.batch_size).cpu().numpy()


@POISONS.add("aap")
def aap(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    surrogate: Surrogate = PUBLISHED_AAP,
    epochs: Annotated[int, AT_LEAST_ONE] = 40,
    warm_up: Annotated[int, NON_NEGATIVE] = 10,
    strength: Annotated[float, POSITIVE_FRACTION] = 0.4,
    attack: Steps = ATTACK,
) -> Perturbation:
    """Return adversarial examples, taken for label y + 1 modulo the classes, that withstand the augmentation of contrastive learning.

    Args:
        clean: images (N, C, H, W).
        crafting: what decides draws, device and reports.
        surrogate: the network and its training on views of clean images (published: ResNet-18, batches of 128).
        epochs: of the surrogate, the warm-up included.
        warm_up: epochs in which its rate rises, by equal parts, to its largest; then it falls along a cosine.
        strength: of the augmentation (published: 0.4 for CIFAR-10, 0.8 for CIFAR-100).
        attack: bound and steps of the noise, from zero; a step sees another view (published: 250 steps of 0.08/255 within 8/255).
    """
    workshop = Workshop(clean, crafting, surrogate, "aap", schedule={"epochs": max(1, epochs - warm_up), **FALLING})
    view = partial(strong_view, strength=strength, generator=workshop.generator)
    chunks = workshop.chunks()
    for done in range(epochs):
        factor = risen_and_fallen(workshop.recipe, done, warm_up)
        loss = workshop.trained_on(lambda batch: view(workshop.images(batch)), factor)
        crafting.progress(done + 1, epochs + len(chunks))
        crafting.report(done + 1, {"loss": loss})
    delta = workshop.noise()
    for number, chunk in enumerate(chunks, start=1):
        losses = _through(view, workshop.losses((workshop.labels[chunk] + 1) % workshop.num_classes))
        delta[chunk] = descend(losses, workshop.images(chunk), delta[chunk], linf=attack.linf, step=attack.step, steps=attack.steps)
        crafting.progress(epochs + number, epochs + len(chunks))
    return delta.cpu().numpy()


def risen_and_fallen(recipe: TrainingRecipe, done: int, warm_up: int) -> float:
    """Return the factor of the learning rate after ``done`` epochs; ``recipe`` says how it falls after the warm-up.

    The warm-up of a recipe that changes its rate once an epoch would give the first epoch a rate of zero.
    """
    return (done + 1) / warm_up if done < warm_up else recipe.learning_rate_factor(done - warm_up)


def _through(view: partial[Tensor], losses: Objective) -> Objective:
    """Return the losses of what ``view`` makes of images."""
    return lambda images: losses(view(images))
