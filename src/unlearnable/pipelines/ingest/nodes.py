"""From a dataset as published to the sets that everything else starts from."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnable.datasets.raw import RawImages
    from unlearnable.images import LabelledImages


def select(raw: "RawImages", settings: dict[str, Any]) -> "tuple[LabelledImages, LabelledImages]":
    """Return class-balanced subsets of the training and the test set, of the sizes asked for."""
    from unlearnable.images import balanced_subset
    from unlearnable.seeds import numpy_generator

    seed = settings["subset_seed"]
    train = balanced_subset(raw.train, settings["train_size"], numpy_generator(seed, "ingest/train"))
    return train, balanced_subset(raw.test, settings["test_size"], numpy_generator(seed, "ingest/test"))
