"""CIFAR in parts small enough to be carried to a machine that nothing can be fetched from: lossless WebP, and a list of hashes.

Three parts: ``train_a`` and ``train_b`` have half of the training images each (42 MB), ``test`` the test images (17 MB). The
engine's checks need ``train_a`` alone.
"""

import hashlib
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision import datasets

from benchmarks.paper.lines import FORMAT
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages

CLASSES = {"cifar10": 10, "cifar100": 100}
STRIP = 500  # images that are compressed together
MOST_MB = 60  # of a part
PARTS = {"engine": ("train_a",), "paper": ("train_a", "train_b", "test")}  # what each part of the cells reads


def pack(name: str, root: Path, folder: Path) -> list[str]:
    """Write the parts of a dataset that torchvision reads from ``root``, and the list of them; return what to say of each.

    Raises:
        InputError: the dataset is not there, or a part is too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (_published(name, root, train=train) for train in (True, False))
    half = len(train) // 2
    parts = {"train_a": train.subset(np.arange(half)), "train_b": train.subset(np.arange(half, len(train))), "test": test}
    about = {part: _written(folder / f"{name}-{part}.zip", images) for part, images in parts.items()}
    (folder / f"{name}.json").write_text(json.dumps({"format": FORMAT, "parts": about}, indent=1))
    return [f"{name}-{part}.zip: {found['images']:,} images, {found['bytes'] / 1e6:.1f} MB" for part, found in about.items()]


def _published(name: str, root: Path, *, train: bool) -> LabelledImages:
    try:
        found = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name](str(root), train=train)
    except RuntimeError as error:
        raise InputError(f"--data-root: expected {name} as torchvision reads it in {root}, got: {' '.join(str(error).split())}") from None
    images = np.ascontiguousarray(found.data.transpose(0, 3, 1, 2))
    return LabelledImages(images=images, labels=np.asarray(found.targets, dtype=np.int64), num_classes=CLASSES[name])


def _written(path: Path, images: LabelledImages) -> dict[str, Any]:
    """Write a part, an archive of strips of images one below the other and of a byte for each label; return what the list says of it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("labels"), images.labels.astype(np.uint8).tobytes())
        for start in range(0, len(images), STRIP):
            strip = images.images[start : start + STRIP].transpose(0, 2, 3, 1)
            archive.writestr(zipfile.ZipInfo(f"{start:05}.webp"), _webp(strip.reshape(-1, *strip.shape[2:])))
    content = buffer.getvalue()
    if len(content) > MOST_MB * 1e6:
        raise InputError(f"{path}: expected at most {MOST_MB} MB, got {len(content) / 1e6:.1f}")
    path.write_bytes(content)
    return {"images": len(images), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _webp(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", lossless=True, method=4, quality=80)
    return buffer.getvalue()


def packed(name: str, folder: Path) -> bool:
    """Return whether a folder has the list of a dataset's parts."""
    return (folder / f"{name}.json").is_file()


def files(name: str, folder: Path, parts: tuple[str, ...]) -> list[Path]:
    """Return the files of some parts, each of the bytes that it was packed with.

    Raises:
        InputError: the list or a part is missing or damaged, or the list is of another format.
    """
    if not packed(name, folder):
        raise InputError(f"--data: expected the parts of {name} as --pack writes them, got no {name}.json in {folder}")
    known = json.loads((folder / f"{name}.json").read_text())
    if known.get("format") != FORMAT:
        raise InputError(f'{folder / name}.json: expected "format": {FORMAT}, got {known.get("format")!r}')
    found = {folder / f"{name}-{part}.zip": str(known["parts"][part]["sha256"]) for part in parts}
    for path, sha256 in found.items():
        if not path.is_file():
            raise InputError(f"--data: expected the part {path.name}, got no such file in {folder}")
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != sha256:
            raise InputError(f"--data: {path} is damaged: expected the SHA-256 {sha256[:12]}…, got {got[:12]}…")
    return list(found)


def unpacked(name: str, folder: Path, parts: tuple[str, ...]) -> LabelledImages:
    """Return the images of some parts, one after the other.

    Raises:
        InputError: as ``files``.
    """
    read = [_read(path) for path in files(name, folder, parts)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
    return LabelledImages(images=images, labels=labels, num_classes=CLASSES[name])


def _read(path: Path) -> tuple[Any, Any]:
    """Return the images (N, 3, H, W) and labels (N,) of a part."""
    with zipfile.ZipFile(path) as archive:
        labels = np.frombuffer(archive.read("labels"), dtype=np.uint8).astype(np.int64)
        strips = [archive.read(strip) for strip in sorted(archive.namelist()) if strip != "labels"]
    with ThreadPoolExecutor() as pool:
        pixels = np.concatenate(list(pool.map(_pixels, strips)))
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels


def _pixels(strip: bytes) -> Any:
    """Return the images (n, H, W, 3) of a strip; they are square."""
    rows = np.asarray(Image.open(io.BytesIO(strip)).convert("RGB"))
    return rows.reshape(-1, rows.shape[1], rows.shape[1], 3)
