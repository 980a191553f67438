"""Generated datasets, each in its makers' own format."""

import gzip
import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def pictures(size: int, *, classes: int, side: int = 32, channels: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 (size, side, side, channels) with a colour for each class, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % classes
    colours = np.random.default_rng(99).integers(40, 216, size=(classes, 1, 1, channels))
    return (colours[labels] + rng.integers(-40, 40, size=(size, side, side, channels))).astype(np.uint8), labels


def md5_of(*files: Path) -> dict[str, str]:
    return {file.name: hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() for file in files}


def write_cifar100(root: Path, *, train: int = 200, test: int = 100) -> dict[str, str]:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for place, (name, size) in enumerate((("train", train), ("test", test))):
        images, labels = pictures(size, classes=100, seed=place)
        rows = images.transpose(0, 3, 1, 2).reshape(size, -1)
        (folder / name).write_bytes(pickle.dumps({"data": rows, "fine_labels": labels.tolist(), "coarse_labels": [0] * size}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {i}" for i in range(100)]}))
    return md5_of(*folder.iterdir())


def write_svhn(root: Path, *, train: int = 200, test: int = 100) -> dict[str, str]:
    root.mkdir(parents=True, exist_ok=True)
    for place, (name, size) in enumerate((("train", train), ("test", test))):
        images, labels = pictures(size, classes=10, seed=place)
        digits = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        scipy.io.savemat(root / f"{name}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": digits})
    return md5_of(*root.glob("*.mat"))


def write_mnist(root: Path, *, name: str = "MNIST", train: int = 100, test: int = 50) -> dict[str, str]:
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for place, size in enumerate((train, test)):
        images, labels = pictures(size, classes=10, side=28, channels=1, seed=place)
        big = [np.array(values, ">i4").tobytes() for values in ([0x803, size, 28, 28], [0x801, size])]
        contents = (big[0] + images.tobytes(), big[1] + labels.astype(np.uint8).tobytes())
        for file, content in zip(MNIST_FILES[2 * place :], contents, strict=False):
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
    return md5_of(*folder.iterdir())


def write_folder(root: Path, *, classes: int, each: int, side: int | tuple[int, int] = 32, kind: str = "png", seed: int = 0) -> None:
    """Write ``class_name/*.png`` below ``root``."""
    width, height = (side, side) if isinstance(side, int) else side
    images, labels = pictures(classes * each, classes=classes, side=max(width, height), seed=seed)
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = root / f"class_{label:03}" / f"{place:05}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:height, :width]).save(file)


def spoil_folder(images: Path, how: str) -> None:
    """Make something wrong with what ``write_folder`` wrote."""
    file = images / "class_001" / "00013.png"
    if how == "empty class":
        (images / "class_003").mkdir()
    elif how == "undecodable":
        file.write_bytes(file.read_bytes()[:200])
    elif how == "no image":
        file.write_bytes(b"hello")
    elif how == "mixed sizes":
        Image.new("RGB", (30, 32)).save(file)
    elif how in ("RGBA", "I;16"):
        Image.new(how, (32, 32)).save(file)
    elif how == "one image":
        for other in (images / "class_001").iterdir():
            if other != file:
                other.unlink()
    elif how == "missing":
        shutil.rmtree(images)
    elif how == "no folders":
        shutil.rmtree(images)
        images.mkdir()


def write_imagenet(root: Path, *, classes: int, each: int, side: tuple[int, int] = (48, 40)) -> None:
    """Write ``train/nXXXXXXXX/*.JPEG`` and ``val`` below ``root``."""
    for place, (part, count) in enumerate((("train", each), ("val", 1))):
        images, labels = pictures(classes * count, classes=classes, side=max(side), seed=place)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = root / part / f"n{label:08}" / f"n{label:08}_{number}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[: side[1], : side[0]]).save(file)
