"""Protected copies of images in a user's folder, with a manifest. If writing them is interrupted, the next run resumes."""

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from kedro.io import AbstractDataset, DatasetError
from PIL import Image
from rich.progress import track

from unlearnable.artifacts.atomic import make_folder, sweep, write_alone, write_over
from unlearnable.errors import InputError
from unlearnable.interrupts import answer

logger = logging.getLogger(__name__)
Pixels = npt.NDArray[np.uint8]
Entry = dict[str, Any]  # what the manifest says about one copy

FORMAT = 1  # version of the manifest
OF_COPIES = MANIFEST, SHEET = "manifest.json", "contact_sheet.png"
JOURNAL = ".unfinished.jsonl"  # the recipe and a line for each finished copy, until the manifest is written
SAVED: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 3},  # a third of the time of level 6, for files a tenth larger
    "webp": {"lossless": True, "exact": True},
}
TOGETHER = 64  # copies between two checks for an interrupt
TOLD = 3  # how many images an error names


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whole:
    """An image in its own size.

    Args:
        pixels: uint8 (C, H, W), rotated as the camera recorded.
        mode: Pillow's mode of the file.
        profile: the ICC colour profile, if it fits these pixels.
    """

    pixels: Pixels
    mode: str
    profile: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Copy:
    """A copy that is still to be made.

    Args:
        original: the file.
        name: the path of the original within its folder; the copy has the same one, with another extension.
        read: returns the original; raises InputError if it cannot be read.
        protect: returns the pixels of the copy.
    """

    original: Path
    name: Path
    read: Callable[[], Whole]
    protect: Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Copies:
    """Copies of all images of a folder; each is made only when it is written.

    Args:
        copies: one for each image.
        kind: the lossless format of the files, ``png`` or ``webp``.
        about: what the manifest says about all copies.
        sheet: returns a PNG with some originals and their copies.
    """

    copies: list[Copy]
    kind: str
    about: dict[str, Any]
    sheet: Callable[[], bytes]


class ProtectedCopies(AbstractDataset[Copies, dict[str, Any]]):
    """A folder with a protected copy of each original, under the same name, and ``manifest.json``, which ``load`` returns.

    Args:
        filepath: the folder; it is missing, empty, or holds copies of the same recipe.
        recipe: the hash of everything that decides the copies.
        metadata: for kedro-viz.

    Example:
        ```yaml
        protected_images:
          type: unlearnable.artifacts.copies.ProtectedCopies
          filepath: /pictures/protected
          recipe: ${recipe:}
        ```
    """

    def __init__(self, *, filepath: str, recipe: str, metadata: dict[str, Any] | None = None) -> None:
        self.folder, self.recipe, self.metadata = Path(filepath), recipe, metadata

    def load(self) -> dict[str, Any]:
        """Return the manifest: what was made and how, and for each copy its original, its size and how much it changed.

        Raises:
            DatasetError: there is no manifest yet, or it has another recipe.
        """
        found = self._manifest()
        if found is None or found.get("recipe") != self.recipe:
            got = "none" if found is None else f"one of recipe {found.get('recipe')}"
            raise DatasetError(f"{self.folder / MANIFEST}: expected a manifest of recipe {self.recipe}, got {got}")
        return found

    def check(self, originals: Path) -> None:
        """Raise InputError if copies of the images in ``originals`` cannot be written here."""
        here, there = self.folder.resolve(), originals.resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise InputError(f"protected: expected a folder beside the originals in {originals}, got {self.folder}")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"protected: expected a folder, got {self.folder}, which is a file")
        if self.folder.is_dir() and any(self.folder.iterdir()) and self._begun() != self.recipe:
            got = f"copies of the recipe {self._begun()}" if self._begun() else "a folder with other files in it"
            raise InputError(f"protected: expected an empty folder, or copies of the recipe {self.recipe}, got {got}: {self.folder}")

    def save(self, data: Copies) -> None:
        """Write the missing copies, a contact sheet and the manifest.

        Raises:
            InputError: some images could not be read (raised once the others are written), or another file has the name of a copy.
        """
        self._begin()
        known, made, left_out = self._known(), [], {}
        with ThreadPoolExecutor(os.cpu_count()) as pool, (self.folder / JOURNAL).open("a") as journal:
            for start in track(range(0, len(data.copies), TOGETHER), "write the copies", transient=True):
                answer()
                some = data.copies[start : start + TOGETHER]
                for copy, entry in zip(some, pool.map(lambda copy: self._written(copy, data.kind, known), some), strict=True):
                    if isinstance(entry, str):
                        left_out[_text(copy.name)] = entry
                        continue
                    made.append(entry)
                    if entry["copy"] not in known:
                        journal.write(json.dumps(entry) + "\n")
                journal.flush()
        self._finish(data, made, left_out)

    def _written(self, copy: Copy, kind: str, known: dict[str, Entry]) -> Entry | str:
        """Write a copy unless it exists; return its entry in the manifest, or the reason why it was left out."""
        name = copy.name.with_suffix(f".{kind}")
        path = self.folder / name
        entry = known.get(_text(name))
        if entry is not None and path.is_file() and _sha256(path.read_bytes()) == entry["sha256"]:
            return entry
        try:
            whole = copy.read()
        except InputError as error:
            return str(error)
        pixels = copy.protect(whole.pixels)
        content = encoded(pixels, kind, whole.profile)
        if not path.exists():
            write_alone(path, content)
        elif path.read_bytes() != content:
            raise InputError(f"protected: expected no other file under the name of a copy, got {path}")
        change = np.abs(pixels.astype(np.int16) - whole.pixels)
        return {
            "original": _text(copy.name),
            "original_sha256": _sha256(copy.original.read_bytes()),
            "original_mode": whole.mode,
            "copy": _text(name),
            "sha256": _sha256(content),
            "width": pixels.shape[2],
            "height": pixels.shape[1],
            "linf": int(change.max()) / 255,
            "l2": float(np.linalg.norm(change.astype(np.float64))) / 255,
        }

    def _begin(self) -> None:
        make_folder(self.folder)
        sweep(self.folder)
        if self._begun() is None:
            (self.folder / JOURNAL).write_text(json.dumps({"recipe": self.recipe}) + "\n")

    def _finish(self, data: Copies, made: list[Entry], left_out: dict[str, str]) -> None:
        if not (self.folder / SHEET).exists():
            write_alone(self.folder / SHEET, data.sheet())
        found = {"format": FORMAT, "recipe": self.recipe, **data.about, "images": made, "left_out": left_out}
        manifest = json.dumps(found, indent=1, allow_nan=False).encode() + b"\n"
        write_over(self.folder / MANIFEST, manifest)  # replaces the manifest of an incomplete run
        (self.folder / JOURNAL).unlink()
        if left_out:
            names = [f"{name} ({why})" for name, why in list(left_out.items())[:TOLD]]
            more = f", and {len(left_out) - TOLD} more in {MANIFEST}" if len(left_out) > TOLD else ""
            raise InputError(
                f"protected: {len(left_out)} of {len(data.copies)} images were left out, the others are in {self.folder}: "
                f"{'; '.join(names)}{more}"
            )
        logger.info("%d protected copies are in %s; the perturbation was made %s", len(made), self.folder, data.about["made"])

    def _begun(self) -> str | None:
        """Return the recipe of the copies in the folder, or None if no file names one."""
        found = self._manifest() or next(self._journal(), {})
        return str(found["recipe"]) if "recipe" in found else None

    def _known(self) -> dict[str, Entry]:
        """Return the entries of the existing copies, by name."""
        entries = [*(self._manifest() or {"images": []})["images"], *self._journal()]
        return {entry["copy"]: entry for entry in entries if "copy" in entry}

    def _manifest(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("images"), list) else None

    def _journal(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the journal; if a run was killed, the last one may be incomplete and is left out."""
        try:
            lines = (self.folder / JOURNAL).read_text().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                return

    def _exists(self) -> bool:
        found = self._manifest()
        return found is not None and found.get("recipe") == self.recipe and not found["left_out"]

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.folder), "recipe": self.recipe}


def encoded(pixels: Pixels, kind: str, profile: bytes | None) -> bytes:
    """Return an image (C, H, W), uint8, as a lossless file of the given format."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    image.save(buffer, format=kind, icc_profile=profile, **SAVED[kind])
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _text(name: Path) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")
