"""SimCLR: a network learns features without labels, from two views of each image, whose likeness it is to find.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (ICML 2020). Batches, rates and epochs are those by
which Wang et al. (NeurIPS 2024) ask what poisons leave to such a learner (EhanW/AUE-AAP at 64fb25f, evaluation_cl.py).
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnable.models import ImageClassifier
from unlearnable.seeds import Draws, borrowed_global_torch, sent, torch_generator
from unlearnable.training.augmentation import Shape, applied, draw, grey
from unlearnable.training.checkpoint import Checkpoint
from unlearnable.training.device import on_host
from unlearnable.training.network import Normalisation
from unlearnable.training.recipe import Augmentation, SimCLR, TrainingRecipe
from unlearnable.training.trainer import Method, Trainer

LEAST_AREA = 0.05  # of an image that a crop keeps
OFTEN = 0.99  # the most that colours are changed
CUT = ("resized_crop", "flip")  # draws of where an image is cut
PROJECTION = "projection/"  # before the names of the projection's weights, in what resuming needs


def strong_view(images: Tensor, *, strength: float, generator: torch.Generator) -> Tensor:
    """Return images (N, C, H, W) cropped, mirrored, and some with changed colours or in grey, as in SimCLR (Section 3 and Appendix A).

    With the strength, from 0 to 1, grow what a crop leaves out, how far colours are changed, and in how many images.
    """
    return seen_by(sent(draw_strong_view(strength, len(images), images.shape[1:], generator), images.device), images, strength)


def draw_strong_view(strength: float, count: int, shape: Shape, generator: torch.Generator) -> Draws:
    """Return everything that is random in strong views of ``count`` images of that shape, on the CPU."""
    draws = draw(_cut(strength), count, shape, generator) | draw(_colours(strength), count, shape, generator)
    chances = torch.tensor([min(OFTEN, 0.8 * strength), 0.2 * strength]).view(2, 1, 1, 1, 1)
    return draws | {"chosen": torch.rand(2, count, 1, 1, 1, generator=generator) < chances}


def seen_by(draws: Draws, images: Tensor, strength: float) -> Tensor:
    """Return strong views of images (N, C, H, W) by the draws for them, which are on their device."""
    cut = applied(images, _cut(strength), {name: draws[name] for name in CUT})
    coloured = applied(cut, _colours(strength), {name: value for name, value in draws.items() if name not in CUT})
    seen = torch.where(draws["chosen"][0], coloured, cut)
    return torch.where(draws["chosen"][1], grey(seen), seen)


def _cut(strength: float) -> Augmentation:
    return Augmentation(resized_crop=max(LEAST_AREA, 1 - 0.9 * strength), flip=True)


def _colours(strength: float) -> Augmentation:
    most, hue = 0.4 * strength, 0.1 * strength
    return Augmentation(brightness=most, contrast=most, saturation=most, hue=hue, clip_jitter=True, shuffle_jitter=True)


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Return the mean loss of projections (2N, width), of which the i-th and the (i + N)-th are views of one image (Eq. 1).

    Each view is to be told from all others of the batch by its likeness, the cosine divided by ``temperature``, to the other view.
    """
    directions = F.normalize(projections.float(), dim=1)
    likeness = (directions @ directions.T / temperature).fill_diagonal_(-math.inf)  # no view is compared with itself
    others = torch.arange(len(projections), device=projections.device).roll(len(projections) // 2)
    return F.cross_entropy(likeness, others)


class Pretraining(Trainer):
    """A trainer of a network's features by SimCLR; the head of the network stays as it is.

    Args:
        model: the network, whose features are trained in place.
        recipe: that of the whole training: ``simclr`` and ``precision`` are of this part.
        normalisation: mean and standard deviation of each channel, in units of [0, 1].
        device: where.
        seed: of the projection's first weights, and of the views.
    """

    def __init__(
        self, model: ImageClassifier, recipe: TrainingRecipe, normalisation: Normalisation, device: torch.device, *, seed: int
    ) -> None:
        projecting, self._projection = _projecting(model, recipe.simclr.width, seed)
        method = Method(loss=partial(_loss, recipe.simclr), draw=partial(_drawn, recipe.simclr, seed))
        super().__init__(projecting, _own(recipe), normalisation, device, method=method)
        self._pretrained = model

    def training(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return what resuming needs beside the network's state: the projection, too, which is no part of that."""
        projection = on_host({f"{PROJECTION}{name}": value for name, value in self._projection.state_dict().items()})
        return super().training(generator) | projection

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the network and the projection."""
        self._pretrained.load_state_dict(checkpoint.state)
        own = {name.removeprefix(PROJECTION): value for name, value in checkpoint.training.items() if name.startswith(PROJECTION)}
        self._projection.load_state_dict(own)


def _projecting(model: ImageClassifier, width: int, seed: int) -> tuple[ImageClassifier, nn.Module]:
    """Return a network of the same features with a projection of two layers in place of the head (Section 2.1), and the projection."""
    features = model.head.in_features
    with borrowed_global_torch(seed, "simclr"):
        hidden = nn.Sequential(nn.Linear(features, features), nn.ReLU())
        projecting = ImageClassifier(nn.Sequential(model.extractor, hidden), features, width)
    return projecting, nn.ModuleDict({"hidden": hidden, "last": projecting.head})


def _own(recipe: TrainingRecipe) -> TrainingRecipe:
    """Return the recipe of this part of a training."""
    own = recipe.simclr
    return TrainingRecipe(
        epochs=own.epochs,
        batch_size=own.batch_size,
        learning_rate=own.learning_rate,
        weight_decay=own.weight_decay,
        warmup=own.warmup,
        precision=recipe.precision,
    )


def _drawn(own: SimCLR, seed: int, step: int, count: int, shape: Shape) -> Draws:
    """Return the draws for two views of each image of a step; a training that is resumed draws the same."""
    return draw_strong_view(own.strength, 2 * count, shape, torch_generator(seed, f"simclr/{step}"))


def _loss(own: SimCLR, trainer: Trainer, images: Tensor, labels: Tensor, shared: Draws, draws: Draws) -> Tensor:  # noqa: ARG001
    """Return the loss of two views of each image; labels are not looked at."""
    return nt_xent(trainer.forward(seen_by(draws, torch.cat([images, images]), own.strength)), own.temperature)
