"""Releases as their authors publish them, made small; and files that are made to do harm."""

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unlearnable.images import LabelledImages

CLASSES, SIDE = 4, 8


def published(size: int = 40) -> LabelledImages:
    """A training set as published: 8x8 RGB images over the whole range of levels."""
    rng = np.random.default_rng(1)
    images = rng.integers(256, size=(size, 3, SIDE, SIDE), dtype=np.uint8)
    return LabelledImages(images=images, labels=rng.permutation(np.arange(size) % CLASSES), num_classes=CLASSES)


def part(size: int = 24) -> LabelledImages:
    """A part of it, in another order."""
    return published().subset(np.random.default_rng(2).permutation(40)[:size])


def noise(rows: int, seed: int = 3) -> np.ndarray:
    """Perturbations (rows, 3, 8, 8) as float32 within 8/255."""
    values = np.random.default_rng(seed).uniform(-8, 8, size=(rows, 3, SIDE, SIDE)) / 255
    return values.astype(np.float32)


def last(images: np.ndarray) -> np.ndarray:
    """Channels last, as NumPy and PNG have them."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def write_pngs(folder: Path, images: np.ndarray, names: list[str] | None = None) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(last(images)):
        Image.fromarray(image).save(folder / (names[index] if names else f"{index}.png"))
    return folder


def write_torch(path: Path, values: object, **options: object) -> Path:
    torch.save(torch.from_numpy(values) if isinstance(values, np.ndarray) else values, path, **options)
    return path


def write_pickle(path: Path, values: object, protocol: int = pickle.DEFAULT_PROTOCOL) -> Path:
    path.write_bytes(pickle.dumps(values, protocol=protocol))
    return path


def write_npy(path: Path, values: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, **options)
    return path


def poisoned_images(clean: LabelledImages) -> np.ndarray:
    """Images (N, 3, 8, 8), uint8, within 8 levels of the clean ones."""
    return (clean.images + noise(len(clean)) * 255).clip(0, 255).round().astype(np.uint8)


def write_ntga(folder: Path, *, kept: int = 30, one_hot: bool = True, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Write a shuffled, smaller set as floats; return the order in which it takes images, and the floats (kept, 8, 8, 3)."""
    clean = published()
    order = np.random.default_rng(4).permutation(40)[:kept]
    floats = (clean.images[order] / 255 + noise(kept)).clip(0, 1).astype(dtype)
    labels = clean.labels[order]
    write_npy(folder / "x_train_cifar10_ntga_cnn_best.npy", last(floats))
    write_npy(folder / "y_train_cifar10.npy", np.eye(CLASSES, dtype=np.float32)[labels] if one_hot else labels)
    return order, last(floats)


def write_lsp(folder: Path, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Write perturbations and the class that each belongs to."""
    values, labels = last(noise(size)), np.random.default_rng(5).permutation(np.arange(size) % CLASSES)
    write_npy(folder / "simple_data.npy", values)
    write_npy(folder / "simple_label.npy", labels)
    return values, labels


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def zip_of(path: Path, members: dict[str, bytes], *, compressed: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return path


def torch_members(values: np.ndarray) -> dict[str, bytes]:
    """The files inside a torch file."""
    stream = io.BytesIO()
    torch.save(torch.from_numpy(values), stream)
    with zipfile.ZipFile(stream) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


def huge_png(path: Path, side: int = 50_000) -> Path:
    """A small file that says that it is a large image."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(bytes(1 << 20)), b"IEND": b""}
    parts = [struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks.items()]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def npy_that_claims(path: Path, shape: tuple[int, ...], content: bytes = b"") -> Path:
    """A .npy file whose header claims a shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    path.write_bytes(stream.getvalue() + content)
    return path
