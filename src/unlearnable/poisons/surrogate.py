"""The network that a poison is crafted against."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.adversarial import Objective
from unlearnable.images import LabelledImages, channel_statistics
from unlearnable.metrics import accuracy
from unlearnable.models import ImageClassifier, build
from unlearnable.poisons.base import Crafting
from unlearnable.ranges import AT_LEAST_ONE, FRACTION, NON_NEGATIVE, POSITIVE
from unlearnable.seeds import derive, torch_generator
from unlearnable.training import Augmentation, Network, Trainer, TrainingRecipe, whiten
from unlearnable.training.pixels import FLOATS_AT_ONCE, Pixels, as_float, no_noise, resident

ONE_EPOCH = {"epochs": 1}
FALLING = {"rate_changes": "epoch", "final_learning_rate": 1e-6}  # along a cosine; of surrogates that take turns with the noise
CROP_AND_FLIP = Augmentation(crop=4, flip=True)  # the published augmentation of surrogates on CIFAR-10


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The surrogate network and its stochastic gradient descent.

    Args:
        model: a registered model; all poisons that train one were published with ResNet-18.
        batch_size: images in a training step.
        learning_rate: of the first step.
        momentum: of SGD.
        weight_decay: of SGD.
        gradient_clip: as in the training recipe.
        precision: as in the training recipe.
        weights: what it starts from, as in the training recipe; None draws them.
    """

    model: str = "resnet18"
    batch_size: Annotated[int, AT_LEAST_ONE] = 128
    learning_rate: Annotated[float, POSITIVE] = 0.1
    momentum: Annotated[float, FRACTION] = 0.9
    weight_decay: Annotated[float, NON_NEGATIVE] = 5e-4
    gradient_clip: Annotated[float | None, POSITIVE] = None
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    weights: str | None = None


def mean_of_each_class(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean (K, ...) of values (N, ...) over each class, zero for a class without any."""
    members = F.one_hot(labels, classes).to(values.dtype)  # a product of matrices, since a GPU would add values of an index in any order
    means = members.T @ values.flatten(1) / members.sum(0).clamp(min=1)[:, None]
    return means.view(classes, *values.shape[1:])


class OfEachClass:
    """Noise that is one pattern (K, C, H, W) a class, indexed by places as if there were one for each image."""

    def __init__(self, patterns: Tensor, labels: Tensor) -> None:
        self._patterns, self._labels = patterns, labels

    def __getitem__(self, chosen: Tensor) -> Tensor:
        return self._patterns[self._labels[chosen]]

    def cpu(self) -> Tensor:
        """Return the noise of all images, on the host."""
        return self._patterns.cpu()[self._labels.cpu()]


class Workshop:
    """The images and the surrogate on the device, for every poison that trains one.

    Args:
        clean: images (N, C, H, W).
        crafting: seed, device and reports of the poison.
        surrogate: which network.
        purpose: names the surrogate's weights and draws, so that two poisons never share them.
        schedule: further settings for ``train``: epochs, and how the learning rate falls.
        augmentation: of the images that the surrogate is trained on.

    Its ``mean`` (1, C, 1, 1) is that of the clean images, in units of [0, 1].
    """

    def __init__(
        self,
        clean: LabelledImages,
        crafting: Crafting,
        surrogate: Surrogate,
        purpose: str,
        *,
        schedule: Mapping[str, Any] = ONE_EPOCH,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.crafting, self.purpose = crafting, f"poison/{purpose}"
        self.pixels = resident(clean, crafting.device)
        self.labels = torch.from_numpy(clean.labels).to(crafting.device)
        self.num_classes = clean.num_classes
        self.generator = torch_generator(crafting.seed, f"{self.purpose}/draws")
        settings = {name: value for name, value in asdict(surrogate).items() if name not in ("model", "weights")}
        self.recipe = TrainingRecipe(**settings, **schedule, augmentation=augmentation or Augmentation())
        # A seed of its own: the networks trained on the poison later start from the weights of ``crafting.seed`` itself.
        own_seed = derive(crafting.seed, self.purpose)
        model = build(
            surrogate.model,
            shape=clean.shape,
            num_classes=clean.num_classes,
            seed=own_seed,
            weights=surrogate.weights,
            setting=f"craft.{purpose}.surrogate",
        )
        statistics = channel_statistics(clean)
        whiten(model, clean, statistics)
        self.mean = torch.as_tensor(statistics[0], dtype=torch.float32, device=crafting.device).view(1, -1, 1, 1)
        self.trainer = Trainer(model, self.recipe, statistics, crafting.device)

    def train(self) -> None:
        """Train the surrogate on the clean images for all its epochs, and report each."""
        for _ in self.epochs():
            pass

    def epochs(self) -> Iterator[int]:
        """Do the same, and yield the number of each epoch, from 1, when it is done."""
        for epoch in range(1, self.recipe.epochs + 1):
            loss = self.trainer.epoch(self.pixels, self.labels, self.generator, self.crafting.progress)
            self.crafting.report(epoch, {"loss": loss, "train_accuracy": 1 - self.error(None)})
            yield epoch

    def batches(self) -> Iterator[Tensor]:
        """Yield indices of training batches without end, in a new random order for each pass."""
        while True:
            yield from self.batches_of_all(self.recipe.batch_size)

    def batches_of_all(self, size: int) -> tuple[Tensor, ...]:
        """Return indices of all images in a new random order, cut into batches of that size."""
        order = torch.randperm(len(self.pixels), generator=self.generator).to(self.pixels.device)
        batches: tuple[Tensor, ...] = order.split(size)
        return batches

    def taking_turns(self, seen: Callable[[Tensor, Tensor], Tensor], moved: Callable[[Tensor, Tensor, int], Tensor], size: int) -> Pixels:
        """Return noise (N, C, H, W): in each epoch the surrogate is trained on all images, then the noise on each is moved.

        Args:
            seen: returns images (n, C, H, W) in units of [0, 1] for the indices (n,) of a batch and the noise on it.
            moved: returns the new noise of a batch, for its indices, the noise on it and the number of epochs done.
            size: images whose noise is moved together.
        """
        delta, epochs = self.noise(), self.recipe.epochs
        for epoch in range(epochs):
            loss = self.trained_on(lambda batch: seen(batch, delta[batch]), self.recipe.learning_rate_factor(epoch))
            for batch in self.batches_of_all(size):
                delta[batch] = moved(batch, delta[batch], epoch)
            self.crafting.progress(epoch + 1, epochs)
            self.crafting.report(epoch + 1, {"loss": loss})
        return delta

    def trained_on(self, seen: Callable[[Tensor], Tensor], factor: float) -> float:
        """Train the surrogate for an epoch, at one rate; return the mean loss of the batches.

        Args:
            seen: returns images (n, C, H, W) in units of [0, 1] for the indices (n,) of a batch.
            factor: by which the recipe's rate is multiplied.
        """
        for group in self.trainer.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * factor
        batches = self.batches_of_all(self.recipe.batch_size)
        losses = [self.trainer.step(seen(batch), self.labels[batch], self.generator) for batch in batches]
        return float(torch.stack(losses).mean())

    def images(self, indices: Tensor) -> Tensor:
        """Return clean images (n, C, H, W), float32 in units of [0, 1]."""
        return as_float(self.pixels[indices])

    def network_of(self, model: ImageClassifier) -> Network:
        """Return a copy of the surrogate's model as a network that sees images and computes as the surrogate does."""
        return Network(model, self.trainer.normalisation, self.trainer.device, self.recipe.precision)

    def losses(self, labels: Tensor) -> Objective:
        """Return the cross-entropy of images against ``labels`` (n,), under the surrogate in evaluation mode."""
        self.trainer.model.eval()
        return lambda images: F.cross_entropy(self.trainer.forward(images).float(), labels, reduction="none")

    def noise(self) -> Pixels:
        """Return noise (N, C, H, W) of zeros, on the device, or on the host if it would fill the device."""
        return no_noise(self.pixels.shape, self.pixels.device)

    def error(self, perturbation: Pixels | OfEachClass | None) -> float:
        """Return the fraction of images plus perturbation (N, C, H, W) that the surrogate gets wrong."""
        self.trainer.model.eval()
        with torch.inference_mode():
            logits = [self.trainer.forward(self._perturbed(chunk, perturbation)) for chunk in self.chunks()]
        return 1 - accuracy(torch.cat(logits), self.labels)

    def chunks(self) -> tuple[Tensor, ...]:
        """Return all indices in order, cut into chunks."""
        chunks: tuple[Tensor, ...] = torch.arange(len(self.pixels), device=self.pixels.device).split(FLOATS_AT_ONCE)
        return chunks

    def _perturbed(self, indices: Tensor, perturbation: Pixels | OfEachClass | None) -> Tensor:
        images = self.images(indices)
        return images if perturbation is None else images + perturbation[indices]
