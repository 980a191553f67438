"""Which images of a set are protected, and by which poison: a share of them, some classes, or a mixture of poisons.

Each poison is crafted only on the images that it protects, because their owner has no others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, balanced_subset, blank
from unlearnable.register import nearest

MIXTURE = "mixture"  # the name for several poisons at once; the settings give the share of each
TOLERANCE = 1e-6  # for the sum of the shares

Indices = npt.NDArray[np.int64]


def protected_parts(clean: LabelledImages, poison: str, settings: Mapping[str, Any]) -> dict[str, Indices]:
    """Return, for each poison, the sorted indices of the images that it protects; no image has two poisons.

    Args:
        clean: the set.
        poison: its name, or ``mixture``.
        settings: ``seed``; ``share`` (a fraction of each class, or a number of images), ``classes`` (names or numbers) and ``mixture``
            (the share of each poison). Without ``share`` and ``classes``, or with None, every image is protected.

    Raises:
        InputError: a class is unknown, or there are fewer images than the share asks for.
    """
    from unlearnable.seeds import numpy_generator  # not at the top: it imports torch, which checking shares does not need

    chosen = _members(clean, settings.get("classes"))
    chosen = _drawn(clean, chosen, settings.get("share"), numpy_generator(settings["seed"], "craft/share"))
    if poison != MIXTURE:
        return {poison: chosen}
    return _split(clean, chosen, settings[MIXTURE], numpy_generator(settings["seed"], "craft/mixture"))


def each_protected(
    clean: LabelledImages, parts: Mapping[str, Indices], protect: Callable[[str, LabelledImages], LabelledImages]
) -> LabelledImages:
    """Return the set with each part replaced by what ``protect(poison, part)`` returns; other images stay unchanged."""
    if len(parts) == 1 and all(len(places) == len(clean) for places in parts.values()):
        return protect(next(iter(parts)), clean)
    images, seconds = blank(clean.images.shape, np.uint8), 0.0
    images[:] = clean.images
    for name, places in parts.items():
        part = protect(name, clean.subset(places))
        images[places] = part.images
        seconds += part.seconds
    return replace(clean, images=images, seconds=seconds)


def require_shares(shares: Mapping[str, float]) -> None:
    """Raise InputError if the shares of a mixture do not add up to 1."""
    total = sum(shares.values())
    if not shares or abs(total - 1) > TOLERANCE:
        got = ", ".join(f"{name} {share:g}" for name, share in shares.items()) or "none"
        raise InputError(f"craft.mixture: expected shares of poisons that add up to 1, got {got}, which is {total:g}")


def _members(clean: LabelledImages, classes: Iterable[str | int] | None) -> Indices:
    """Return the indices of the images of the given classes, or of all images."""
    if classes is None:
        return np.arange(len(clean))
    return np.flatnonzero(np.isin(clean.labels, [_label(clean, name) for name in classes]))


def _label(clean: LabelledImages, name: str | int) -> int:
    known = [*clean.class_names] or [str(label) for label in range(clean.num_classes)]
    if str(name) in known:
        return known.index(str(name))
    if isinstance(name, int) and 0 <= name < clean.num_classes:
        return name
    raise InputError(f"craft.classes: expected some of the classes {_told(known)}, got '{name}'{nearest(name, known)}")


def _told(known: list[str]) -> str:
    return ", ".join(known) if len(known) <= 10 else f"{known[0]} to {known[-1]}"


def _drawn(clean: LabelledImages, places: Indices, share: int | float | None, rng: np.random.Generator) -> Indices:
    """Return a random part of the indices: a fraction of each class, or a number of images, spread evenly over the classes."""
    if share is None:
        return places
    if isinstance(share, float):
        return np.sort(np.concatenate([_fraction(of_class, share, rng) for of_class in _by_class(clean, places)]))
    present = np.unique(clean.labels[places])
    of_those = replace(clean.subset(places).without_pixels(), labels=np.searchsorted(present, clean.labels[places]), ids=places)
    try:
        return balanced_subset(replace(of_those, num_classes=len(present), class_names=()), share, rng).ids
    except InputError as error:
        raise InputError(f"craft.share: {error}") from None


def _fraction(places: Indices, share: float, rng: np.random.Generator) -> Indices:
    return rng.permutation(places)[: max(1, round(share * len(places)))]


def _split(clean: LabelledImages, places: Indices, shares: Mapping[str, float], rng: np.random.Generator) -> dict[str, Indices]:
    """Return the indices that each poison protects; every class is split in the same shares."""
    require_shares(shares)
    bounds = np.cumsum(list(shares.values()))[:-1]
    cut = [np.split(rng.permutation(of_class), np.round(bounds * len(of_class)).astype(int)) for of_class in _by_class(clean, places)]
    parts = {name: np.sort(np.concatenate(some)) for name, some in zip(shares, zip(*cut, strict=True), strict=True)}
    return {name: part for name, part in parts.items() if len(part)}


def _by_class(clean: LabelledImages, places: Indices) -> list[Indices]:
    return [places[clean.labels[places] == label] for label in np.unique(clean.labels[places])]
