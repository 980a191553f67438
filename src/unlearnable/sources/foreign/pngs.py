"""A folder of PNG files that are named by the place of their image in the training set."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from unlearnable.errors import InputError
from unlearnable.sources.foreign.arrays import require_file

NAME = re.compile(r"[0-9]{1,9}\.png", re.ASCII)
MODES = {1: "L", 3: "RGB"}


def read_pngs(folder: Path, ids: npt.NDArray[np.int64], shape: tuple[int, int, int], published: int) -> npt.NDArray[np.uint8]:
    """Return the images (N, C, H, W) of ``ids``, of as many as were published; hidden files are ignored.

    Raises:
        InputError: a name is no index, two names are one index, an index is missing or is none of the published images', or an image
            is not of ``shape``.
    """
    if not folder.is_dir():
        raise InputError("expected a folder of PNG files, got a file")
    files = _by_index(folder)
    missing = [int(index) for index in ids if int(index) not in files]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise InputError(f"missing {missing[0]}.png{more}; found {len(files)} files")
    if len(files) != published or max(files) >= published:
        raise InputError(
            f"expected {published} files, 0.png to {published - 1}.png, got {len(files)}, the last of which is {max(files)}.png"
        )
    images = np.empty((len(ids), *shape), dtype=np.uint8)
    for place, index in enumerate(ids):
        try:
            images[place] = _read(files[int(index)], shape)
        except InputError as error:
            raise InputError(f"{files[int(index)].name}: {error}") from None
    return images


def _by_index(folder: Path) -> dict[int, Path]:
    files: dict[int, Path] = {}
    root = folder.resolve()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not NAME.fullmatch(path.name):
            raise InputError(f"expected files named by training index, such as 0.png, got {path.name[:60]!r}")
        if not path.resolve().is_relative_to(root):
            raise InputError(f"expected files inside the folder, got the link {path.name!r} out of it")
        index = int(path.stem)
        if index in files:
            raise InputError(f"expected one file per index, got {files[index].name} and {path.name}")
        files[index] = path
    return files


def _read(path: Path, shape: tuple[int, int, int]) -> Any:
    """Decode one image, once its file is small enough and says that it has the size and the mode expected."""
    channels, height, width = shape
    require_file(path, 8 * channels * height * width + (1 << 16))
    expected = (MODES.get(channels), (width, height))
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if (image.mode, image.size) != expected or getattr(image, "is_animated", False):
                raise InputError(f"expected one {expected[0]} image of {width}x{height}, got {image.mode} {image.size[0]}x{image.size[1]}")
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"expected a whole PNG, got a broken one ({type(error).__name__})") from None
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
