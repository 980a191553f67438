"""The child process: from a foreign file and clean images to poisoned ones, as safetensors on its standard output.

    python -m unlearnable.sources.foreign.convert BYTES SECONDS REQUEST < clean images as safetensors

It may use so many bytes of memory and seconds of CPU, and write no file. It ends with 2 and one line on standard error
if the file is not of the format in the request, and with 3 if the memory was not enough.
"""

import errno
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearnable.artifacts.packing import packed, unpacked
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.sources.foreign import FAR, NORMS
from unlearnable.sources.foreign.readers import read
from unlearnable.sources.foreign.releases import BLOCK, Release, Request, slack

WRONG_FILE, TOO_LITTLE_MEMORY = 2, 3


def limit(memory: int, seconds: int) -> None:
    """Let this process use so much memory and CPU, and write no file.

    Raises:
        InputError: the system cannot limit it: nothing is read without limits.
    """
    try:
        import resource

        _warm_up()
        limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: seconds, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
        for kind, value in limits.items():
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    except (ImportError, AttributeError, ValueError, OSError) as error:
        raise InputError(f"expected a system that limits the memory of a process, such as Linux, got none ({error})") from None


def _warm_up() -> None:
    """Multiply once: OpenBLAS takes its buffers then, and where the limit denies them it tries for ever."""
    square = np.ones((512, 512), dtype=np.float32)
    square @ square


def converted(request: Request, clean: LabelledImages) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return the poisoned images with ids and labels, and what was found and measured.

    Raises:
        InputError: the release is not of the format in the request.
    """
    release = read(request, clean)
    images, largest = _poisoned(release, clean, request.budget)
    tensors: dict[str, npt.NDArray[Any]] = {"images": images, "labels": clean.labels[release.places], "ids": clean.ids[release.places]}
    about = {name: repr(value) for name, value in largest.items()}
    return tensors, {"form": release.form, "rounding": release.rounding, **about}


def _poisoned(release: Release, clean: LabelledImages, budget: dict[str, float]) -> tuple[npt.NDArray[np.uint8], dict[str, float]]:
    """Return the images (N, C, H, W) and the largest of each norm, checked block by block."""
    images = np.empty((len(release.rows), *clean.shape), dtype=np.uint8)
    largest = dict.fromkeys(NORMS, 0.0)
    for start in range(0, len(images), BLOCK):
        known, poisoned = release.block(clean, start)
        measured = _norms(poisoned, known)
        _check(measured, clean.ids[release.places[start : start + BLOCK]], release, budget)
        images[start : start + BLOCK] = poisoned
        largest = {name: max(value, float(measured[name].max())) for name, value in largest.items()}
    return images, largest


def _norms(poisoned: npt.NDArray[np.uint8], clean: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the norms of each image's perturbation, in units of [0, 1]; L0 counts pixels."""
    difference = (poisoned.astype(np.float64) - clean) / 255
    flat = np.abs(difference).reshape(len(difference), -1)
    changed = (difference != 0).any(1).reshape(len(difference), -1).sum(1)
    return {"linf": flat.max(1), "l2": np.sqrt((flat**2).sum(1)), "l0": changed.astype(np.float64), "mean": flat.mean(1)}


def _check(measured: dict[str, npt.NDArray[np.float64]], ids: npt.NDArray[np.int64], release: Release, budget: dict[str, float]) -> None:
    limits = {norm: value + _rounding_adds(norm, release) for norm, value in budget.items()} or {"mean": FAR}
    for norm, allowed in limits.items():
        worst = int(measured[norm].argmax())
        got = measured[norm][worst]
        if got > allowed + 1e-9:
            name = "mean absolute difference" if norm == "mean" else norm.replace("l", "L")
            expected = f"{name} of at most {budget.get(norm, FAR):g} from the clean image, got {got:.4g} at index {ids[worst]}"
            hint = ": is it in the order of this dataset?" if release.form.startswith("images") else ""
            raise InputError(f"expected {expected}{hint}")


def _rounding_adds(norm: str, release: Release) -> float:
    """Return by how much making levels of a perturbation may raise its norm."""
    adds = slack(release.rounding) / 255
    return {"linf": adds, "l2": adds * float(np.sqrt(release.values[0].size)), "l0": 0.0}[norm]


def _clean(content: bytes, **about: Any) -> LabelledImages:
    tensors = unpacked(content)
    return LabelledImages(images=tensors["images"], labels=tensors["labels"], ids=tensors["ids"], **about)


def main(memory: str, seconds: str, request: str) -> int:
    """Convert what ``request`` (JSON) names; return the exit status."""
    asked: dict[str, Any] = json.loads(request)
    path = asked["path"]
    try:
        limit(int(memory), int(seconds))
        clean = _clean(sys.stdin.buffer.read(), **{name: asked.pop(name) for name in ("num_classes", "published")})
        for piece in packed(*converted(Request(**asked | {"path": Path(path)}), clean)):
            sys.stdout.buffer.write(piece)
    except (InputError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return TOO_LITTLE_MEMORY
        sys.stderr.write(f"released_poison.path ({path}): {' '.join(str(error).split())}\n")
        return WRONG_FILE
    except MemoryError:
        return TOO_LITTLE_MEMORY
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
