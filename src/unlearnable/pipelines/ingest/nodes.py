"""From a dataset as published to the sets that everything else starts from."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.images import LabelledImages
    from unlearnable.sources.raw import RawImages


def select(raw: "RawImages", settings: dict[str, Any]) -> "tuple[LabelledImages, LabelledImages]":
    """Return class-balanced subsets of the training and the test set, of the given sizes.

    Raises:
        InputError: the dataset does not have so many images, or they are too few.
    """
    return _subset("train", raw.train, settings), _subset("test", raw.test, settings)


def _subset(part: str, images: "LabelledImages", settings: dict[str, Any]) -> "LabelledImages":
    from unlearnable.errors import InputError
    from unlearnable.images import balanced_subset
    from unlearnable.seeds import numpy_generator

    try:
        return balanced_subset(images, settings[f"{part}_size"], numpy_generator(settings["subset_seed"], f"ingest/{part}"))
    except InputError as error:
        raise InputError(f"ingest.{part}_size: {error}") from None
