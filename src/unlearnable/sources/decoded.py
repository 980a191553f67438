"""Encoded images of any size, decoded once into a file of our own, which is mapped into memory and never read as a whole."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

from unlearnable.artifacts.atomic import Part, made_once, open_checked
from unlearnable.artifacts.packing import Stream
from unlearnable.artifacts.tensors import images_of, images_parts
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages

FORMAT = 2  # raise where the same files would give other pixels
TOGETHER = 256  # images decoded before they are written
MODES = {1: "L", 3: "RGB"}
EIGHT_BITS = ("1", "L", "P", "RGB", "CMYK", "YCbCr")  # modes that become grey or RGB without losing what is seen
ENCODINGS = ("JPEG", "PNG", "WEBP", "BMP")
PNG = b"\x89PNG\r\n\x1a\n"  # what such a file begins with
ORIENTATION = 0x0112  # in EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Source = Callable[[], Image.Image]
LARGEST_SIDE = 4096


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How images of any size become pixels of one size.

    Args:
        side: of the square that is kept, in pixels; None keeps images as they are, which must then be of one size.
        resize: what the shorter side becomes before the square in the middle is kept; None is ``side``. An image of that size is left
            as it is.
        channels: 3, or 1 for the luma.
    """

    side: int | None
    resize: int | None = None
    channels: int = 3

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise InputError(f"raw_images.channels: expected 1 or 3, got {self.channels!r}")
        for name, value in (("side", self.side), ("resize", self.resize)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE):
                raise InputError(f"raw_images.{name}: expected a whole number from 1 to {LARGEST_SIDE}, or null, got {value!r}")
        if self.resize is not None and (self.side is None or self.resize < self.side):
            raise InputError(f"raw_images.resize: expected at least the side, {self.side}, got {self.resize}")

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return uint8 (C, H, W) of an image, as it is seen: turned as its camera says.

        Raises:
            InputError: it is transparent or has more than eight bits a channel.
        """
        if image.mode not in EIGHT_BITS or "transparency" in image.info:
            kind = "transparency" if "transparency" in image.info or "A" in image.mode else f"mode {image.mode}"
            raise InputError(f"expected grey or RGB of eight bits, without transparency, got {kind}")
        if self.side is not None:
            image.draft(MODES[self.channels], (2 * self._shorter, 2 * self._shorter))  # a JPEG of a camera is decoded at a smaller scale
        seen = self._cut(_turned(image).convert(MODES[self.channels]))
        array = np.asarray(seen)
        return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))

    @property
    def _shorter(self) -> int:
        return self.resize or self.side or 0

    def _cut(self, image: Image.Image) -> Image.Image:
        """Return the square in the middle, after the shorter side is what it is to be."""
        if self.side is None:
            return image
        width, height = image.size
        scale = self._shorter / min(width, height)
        if scale != 1:
            width, height = round(width * scale), round(height * scale)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        return image.crop((left, top, left + self.side, top + self.side))


def opened(file: Path | BytesIO, formats: tuple[str, ...] | None = ENCODINGS) -> Image.Image:
    """Return an image, not yet decoded, of one of ``formats``; None takes all that Pillow reads."""
    try:
        return Image.open(file, formats=formats)
    except ValueError:  # of a text beside the pixels that would unpack to much
        content = file.getvalue() if isinstance(file, BytesIO) else file.read_bytes()
        return Image.open(BytesIO(_without_texts(content)), formats=formats)


def _without_texts(content: bytes) -> bytes:
    """Return a PNG without its texts and its profile of colours, which no pixel depends on here; anything else as it is."""
    if not content.startswith(PNG):
        return content
    kept, place = [PNG], len(PNG)
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4])
        if content[place + 4 : place + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(content[place:end])
        place = end
    return b"".join(kept)


def _turned(image: Image.Image) -> Image.Image:
    """Return an image turned as its camera says; Pillow's own function also rewrites EXIF, and fails if some of it is wrong."""
    with suppress(ValueError):  # of a text after the pixels that would unpack to much: they are there by then
        image.load()
    image.load()
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # broken EXIF raises all kinds; then there is nothing to turn by
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def decoded(
    sources: Sequence[tuple[str, Source]],
    labels: npt.NDArray[np.int64],
    num_classes: int,
    *,
    frame: Frame,
    copy: Path,
    ids: npt.NDArray[np.int64] | None = None,
) -> LabelledImages:
    """Return images, mapped from the file ``copy``; where it is not there, they are decoded into it first, on all cores.

    Args:
        sources: for each image what an error calls it, and what opens it.
        labels: int64 (N,).
        num_classes: the number of classes.
        frame: how they become pixels.
        copy: names all that decides the pixels.
        ids: int64 (N,), distinct; None numbers the images.

    Raises:
        InputError: it names the image that cannot be decoded, or that has another size than the first.
    """

    def parts() -> Iterator[Part]:
        shape = pixels_of(frame, sources[0]).shape
        about = LabelledImages(
            images=np.zeros((len(labels), 1, 1, 1), np.uint8),
            labels=labels,
            num_classes=num_classes,
            ids=np.arange(len(labels)) if ids is None else ids,
        )
        stream = Stream(shape=(len(sources), *shape), dtype="uint8", parts=_chunks(frame, sources, shape))
        return images_parts(about, stream, {})

    return made_once(copy, parts, lambda path: images_of(open_checked(path)))


def named(folder: str, **decides: Any) -> Path:
    """Return a folder in ``folder``, named by everything that decides its content."""
    content = json.dumps({"format": FORMAT, **decides}, sort_keys=True, default=vars)
    return Path(folder) / hashlib.sha256(content.encode()).hexdigest()[:12]


def _chunks(frame: Frame, sources: Sequence[tuple[str, Source]], shape: tuple[int, ...]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield decoded images (n, C, H, W); decoders let other threads work."""

    def of_the_shape(source: tuple[str, Source]) -> npt.NDArray[np.uint8]:
        pixels = pixels_of(frame, source)
        if pixels.shape != shape:
            expected, got = (f"{each[2]}x{each[1]}" for each in (shape, pixels.shape))
            raise InputError(
                f"raw_images: {source[0]}: expected {expected} pixels as the first image, got {got}; side: makes them one size"
            )
        return pixels

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in track(range(0, len(sources), TOGETHER), "decode images", transient=True):
            yield np.stack(list(pool.map(of_the_shape, sources[start : start + TOGETHER])))


def pixels_of(frame: Frame, source: tuple[str, Source]) -> npt.NDArray[np.uint8]:
    """Return uint8 (C, H, W) of an image, given by its name in errors and what opens it; raise InputError if it cannot be decoded."""
    name, opens = source
    try:
        with opens() as image:
            return frame.pixels(image)
    except InputError as error:
        raise InputError(f"raw_images: {name}: {error}") from None
    except Exception as error:  # whatever a decoder raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"raw_images: {name}: expected an image that can be decoded ({', '.join(ENCODINGS)}), got {reason}") from error
