"""Write images of CIFAR-10 and their protected copies as an owner would have them: two folders of PNG files, for an audit.

python -m benchmarks.protected_folder --data-root /data --poison em_samplewise --size 3000 --out /pictures
kedro run --pipeline=audit --env=folder --params=data_root=/pictures
"""

import argparse
from pathlib import Path

from PIL import Image
from torchvision.datasets import CIFAR10

from benchmarks.poisons import cifar10, say, settings_of
from unlearnable.images import LabelledImages
from unlearnable.poisons import Crafting, craft


def main() -> None:
    """Craft and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data/01_raw")
    parser.add_argument("--poison", default="em_samplewise")
    parser.add_argument("--size", type=int, default=3000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = settings_of("cifar10_small", "small_cnn")
    clean, _ = cifar10(arguments.data_root, settings["ingest"] | {"train_size": arguments.size})
    crafting = Crafting(seed=0, report=lambda number, measured: say(f"round {number} {measured}"))
    protected = craft(arguments.poison, clean, crafting, settings=settings["craft"].get(arguments.poison) or {})
    names = CIFAR10(arguments.data_root).classes
    write(clean, names, arguments.out / "folder")
    write(protected, names, arguments.out / "protected")


def write(images: LabelledImages, classes: list[str], folder: Path) -> None:
    """Write ``class_name/INDEX.png``."""
    for pixels, label, place in zip(images.images, images.labels, images.ids, strict=True):
        file = folder / classes[label] / f"{place:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file)


if __name__ == "__main__":
    main()
