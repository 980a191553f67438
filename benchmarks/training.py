"""One epoch of training: the project's engine against a float32 loop over a per-item PIL pipeline. No Kedro is needed.

python -m benchmarks.training --model resnet18 --batch-size 128
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.timing import in_turns, machine
from unlearnable.images import LabelledImages, channel_statistics
from unlearnable.models import build
from unlearnable.training import Augmentation, TrainingRecipe, fit
from unlearnable.training.device import choose_device


class PilImages(Dataset[tuple[torch.Tensor, int]]):
    """Images as the usual pipeline has them: PIL, transformed one at a time."""

    def __init__(self, images: LabelledImages) -> None:
        mean, deviation = channel_statistics(images)
        self.images = [Image.fromarray(image) for image in images.images.transpose(0, 2, 3, 1)]
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, deviation),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def usual(images: LabelledImages, model: str, batch_size: int, workers: int, device: torch.device) -> Callable[[], None]:
    """Return one epoch of the usual loop: DataLoader, float32, NCHW."""
    network = build(model, shape=(3, 32, 32), num_classes=images.num_classes, seed=0).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(PilImages(images), batch_size, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(0))

    def epoch() -> None:
        network.train()
        for batch, labels in loader:
            optimiser.zero_grad()
            F.cross_entropy(network(batch.to(device)), labels.to(device)).backward()
            optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return epoch


def ours(images: LabelledImages, model: str, batch_size: int, precision: str, device: torch.device) -> Callable[[], None]:
    """Return one epoch of ``fit``."""
    network = build(model, shape=(3, 32, 32), num_classes=images.num_classes, seed=0)
    recipe = TrainingRecipe(
        epochs=1, batch_size=batch_size, learning_rate=0.1, precision=precision, augmentation=Augmentation(crop=4, flip=True)
    )
    few = images.subset(np.arange(2))  # the epoch is what is measured, not its test

    def epoch() -> None:
        list(fit(network, images, few, recipe=recipe, normalisation=channel_statistics(images), seed=0, device=device))

    return epoch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="of the usual loop's DataLoader")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    images = LabelledImages(
        images=rng.integers(256, size=(arguments.images, 3, 32, 32), dtype=np.uint8),
        labels=np.arange(arguments.images) % 10,
        num_classes=10,
    )
    device, shape = choose_device(arguments.device), (images, arguments.model, arguments.batch_size)
    contestants = {
        "usual (float32, PIL)": usual(*shape, arguments.workers, device),
        "ours, float32": ours(*shape, "float32", device),
        "ours, auto": ours(*shape, "auto", device),
    }
    for warm_up in contestants.values():
        warm_up()
    medians = in_turns(contestants, arguments.rounds)
    print(machine())
    print(f"{arguments.model}, batch {arguments.batch_size}, {arguments.images} images an epoch, medians of {arguments.rounds} rounds")
    for name, seconds in medians.items():
        print(f"{name}: {arguments.images / seconds:,.0f} images/s, {medians['usual (float32, PIL)'] / seconds:.2f} times the usual")


if __name__ == "__main__":
    main()
