"""A poison that its authors released: the catalog entry, and our own copy of what a child process read."""

import hashlib
import json
import logging
import os
import subprocess  # for our own child process  # nosec B404
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset

from unlearnable.artifacts.atomic import Part, made_once, open_checked
from unlearnable.artifacts.packing import Header, header, packed, unpacked
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.register import nearest
from unlearnable.sources.fingerprint import fingerprint
from unlearnable.sources.foreign import FORMATS, NORMS, ROUNDINGS

logger = logging.getLogger(__name__)
CHILD = "unlearnable.sources.foreign.convert"
TOO_LITTLE_MEMORY = 3
LARGEST = 1_000_000  # of any number in the entry
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


class ReleasedPoison(AbstractDataset[None, "ReleasedPoison"]):
    """A poison as its authors publish it, for ``poison=released``; nothing is opened until it is crafted.

    Args:
        path: the file or folder; None where there is no release.
        format: png_folder, em_tensor, rem_pickle, ops_array, lsp_array or ntga_arrays: what each holds is said in
            ``unlearnable.sources.foreign.readers``.
        filepath: the folder for our own copies.
        rounding: truncate or nearest, where values are no whole levels; None is what the release's own loader does.
        budget: the largest norm of a perturbation, in units of [0, 1]: ``linf``, ``l2``, or ``l0`` in pixels. What
            rounding adds is allowed. Without one, only images that differ much from the clean ones are refused.
        memory_gib: of the process that reads the release.
        timeout_s: seconds that it may take.
        metadata: for kedro-viz.

    Example:
        ```yaml
        released_poison:
          type: unlearnable.sources.released.ReleasedPoison
          path: ${param:data_root}/em/perturbation.pt
          format: em_tensor
          budget: { linf: 0.0314 }
          filepath: data/02_intermediate/${dataset:}/released
        ```
    """

    def __init__(
        self,
        *,
        filepath: str,
        path: str | None = None,
        format: str | None = None,  # noqa: A002
        rounding: str | None = None,
        budget: dict[str, float] | None = None,
        memory_gib: float = 4.0,
        timeout_s: float = 1800.0,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.path, self.format, self.folder, self.rounding, self.metadata = path, format, Path(filepath), rounding, metadata
        self.budget, self.memory_gib, self.timeout_s = {} if budget is None else budget, memory_gib, timeout_s

    def load(self) -> "ReleasedPoison":
        """Return itself: nothing is read before ``poisoned`` is asked for."""
        return self

    def save(self, data: None) -> None:  # noqa: ARG002
        """Refuse."""
        raise InputError("released_poison: a release is only read")

    def check(self) -> None:
        """Raise InputError if an argument is wrong or nothing is at ``path``; no file is opened."""
        if not isinstance(self.path, str):
            raise InputError(f"released_poison.path: expected the file or folder of a release, got {_shown(self.path)}")
        if not isinstance(self.format, str) or self.format not in FORMATS:
            got = f"{_shown(self.format)}{nearest(self.format, list(FORMATS))}"
            raise InputError(f"released_poison.format: expected one of {', '.join(FORMATS)}, got {got}")
        if self.rounding is not None and (FORMATS[self.format] == "none" or self.rounding not in ROUNDINGS):
            expected = "nothing, since its values are whole levels" if FORMATS[self.format] == "none" else " or ".join(ROUNDINGS)
            raise InputError(f"released_poison.rounding: expected {expected}, got {self.rounding!r}")
        if not isinstance(self.budget, dict) or set(self.budget) - set(NORMS):
            raise InputError(f"released_poison.budget: expected norms among {', '.join(NORMS)}, got {self.budget!r}")
        numbers = {f"budget.{norm}": value for norm, value in self.budget.items()}
        for name, value in {**numbers, "memory_gib": self.memory_gib, "timeout_s": self.timeout_s}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
                raise InputError(f"released_poison.{name}: expected a number above 0 and at most {LARGEST}, got {value!r}")
        if not Path(self.path).exists():
            raise InputError(f"released_poison.path: expected a file or folder, got {self.path}, which is missing")

    def poisoned(self, clean: LabelledImages) -> LabelledImages:
        """Return the images of ``clean`` that the release covers, as it has them; read once, then from our own copy.

        Raises:
            InputError: the release is not what the entry says, or does not fit ``clean``.
        """
        self.check()
        source = str(fingerprint(Path(str(self.path)), "released_poison.path"))
        tensors, about = made_once(self._place(source, clean), lambda: self._converted(clean, source), _read)
        logger.info("released_poison: read %s as %s", self.path, _stated(about))
        found = LabelledImages(images=tensors["images"], labels=tensors["labels"], ids=tensors["ids"], **_about(clean))
        return replace(found, class_names=clean.class_names)

    def _place(self, source: str, clean: LabelledImages) -> Path:
        """Return the path of our copy, named by the bytes, the settings and the clean images that decide it."""
        settings = {"format": self.format, "rounding": self._rounding(), "budget": self.budget, **_about(clean)}
        total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for array in (clean.ids, clean.labels, clean.images):
            total.update(np.ascontiguousarray(array).data)
        return self.folder / f"{source[:12]}-{total.hexdigest()[:12]}" / "poisoned.safetensors"

    def _rounding(self) -> str:
        return self.rounding or FORMATS[str(self.format)]

    def _converted(self, clean: LabelledImages, source: str) -> Iterator[Part]:
        """Have the child read the release, and return what it says as our copy has it."""
        found = self._answer(clean)
        tensors, about = unpacked(found), header(found)
        about |= {"format": str(self.format), "source_sha256": source, "count": str(len(tensors["ids"]))}
        about["ids_sha256"] = hashlib.sha256(tensors["ids"].tobytes()).hexdigest()
        return packed(tensors, about)

    def _answer(self, clean: LabelledImages) -> bytes:
        """Return the safetensors that the child makes of the release; raise InputError if it makes none."""
        request = {"path": self.path, "format": self.format, "rounding": self._rounding(), "budget": self.budget}
        limits = [str(int(self.memory_gib * 2**30)), str(int(self.timeout_s) + 1)]
        # -P: no module is taken from the folder that this runs in
        command = [sys.executable, "-P", "-m", CHILD, *limits, json.dumps(request | _about(clean))]
        given = b"".join(packed({"images": clean.images, "labels": clean.labels, "ids": clean.ids}, {}))
        env = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(Path(__file__).parents[2])}
        try:
            done = subprocess.run(command, input=given, capture_output=True, env=env, timeout=self.timeout_s, check=False)  # no shell  # noqa: S603  # nosec B603
        except subprocess.TimeoutExpired:
            raise InputError(f"released_poison.path ({self.path}): expected to be read in {self.timeout_s:g} s, got no end") from None
        if done.returncode == 0:
            return done.stdout
        raise InputError(self._why(done.returncode, done.stderr.decode(errors="replace").strip().splitlines()))

    def _why(self, status: int, lines: list[str]) -> str:
        if status == TOO_LITTLE_MEMORY:
            return f"released_poison.path ({self.path}): expected to need at most {self.memory_gib:g} GiB of memory, got more"
        if lines and lines[-1].startswith("released_poison."):
            return lines[-1]
        last = lines[-1] if lines else "silent"
        return f"released_poison.path ({self.path}): expected a release, got a file that ends its reader ({status}, {last})"

    def _describe(self) -> dict[str, Any]:
        return {"path": self.path, "format": self.format}


def _about(clean: LabelledImages) -> dict[str, Any]:
    return {"num_classes": clean.num_classes, "published": clean.published}


def _shown(value: object) -> str:
    return "none" if value is None else repr(value)


def _read(copy: Path) -> tuple[dict[str, Any], Header]:
    content = open_checked(copy)
    return unpacked(content), header(content)


def _stated(about: Header) -> str:
    """Return in words what was read."""
    norms = f"largest Linf {float(about['linf']):.4f}, L2 {float(about['l2']):.3f}, L0 {float(about['l0']):.0f}"
    return f"{about['format']}: {about['form']}, {about['count']} images, rounding {about['rounding']}, {norms}"
