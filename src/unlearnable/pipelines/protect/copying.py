"""How each original becomes a copy, and what the manifest says about all copies."""

from dataclasses import asdict, replace
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np

from unlearnable.artifacts.copies import Copies, Copy, Pixels
from unlearnable.artifacts.sheet import contact_sheet
from unlearnable.errors import InputError
from unlearnable.origin import versions
from unlearnable.poisons.own_size import Protection
from unlearnable.sources.folder import id_of
from unlearnable.sources.originals import OriginalFolder

SHOWN = 6  # originals of a class on the sheet, each with its copy


def copies_of(originals: OriginalFolder, protection: Protection, kind: str) -> Copies:
    """Return a copy of every original, with the perturbation that was crafted for it."""
    copies = [
        Copy(
            original=file,
            name=file.relative_to(originals.path),
            read=partial(originals.whole, file),
            protect=partial(_protected, protection, id_of(name, file)),
        )
        for name, file in originals.files()
    ]
    return Copies(copies=copies, kind=kind, about=_about(protection), sheet=partial(_sheet, originals, protection))


def _protected(protection: Protection, number: int, pixels: Pixels) -> Pixels:
    if number not in protection:
        raise InputError("originals: expected the images that the poison was crafted on, got another one: was it added meanwhile?")
    return protection.apply(number, pixels)


def _about(protection: Protection) -> dict[str, Any]:
    """Return what the manifest says about all copies. The budget is that of an image of ``side`` pixels, as in the settings."""
    return {
        "poison": protection.poison,
        "settings": dict(protection.settings),
        "seed": protection.seed,
        "side": protection.side,
        "made": protection.made,
        "budget": asdict(protection.budget),
        "made_by": versions(),
    }


def _sheet(originals: OriginalFolder, protection: Protection) -> bytes:
    """Return a PNG with the first images of the first classes, one row per class; each original is followed by its copy."""
    crafted = [(name, file) for name, file in originals.files() if id_of(name, file) in protection]
    first = [each for _, of_class in groupby(crafted, key=itemgetter(0)) for each in islice(of_class, SHOWN)]
    before = originals.seen(first)
    after = np.stack([protection.apply(int(number), image) for number, image in zip(before.ids, before.images, strict=True)])
    both = np.stack([before.images, after], axis=1).reshape(-1, *before.shape)
    ids = np.arange(len(both))
    return contact_sheet(replace(before, images=both, labels=before.labels.repeat(2), ids=ids, published=0))
