"""What a poison is given in a run: its seed and device, a bar, and a line of the log for each round."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from unlearnable.pipelines.progress import bar, log_round

if TYPE_CHECKING:
    from unlearnable.poisons import Crafting


@contextmanager
def crafting(poison: str, settings: dict[str, Any], device: str) -> "Iterator[Crafting]":
    """Yield what a poison is given; running out of memory in the block names the setting to lower.

    Args:
        poison: its name.
        settings: the block ``craft`` of the parameters.
        device: its name.
    """
    from unlearnable.poisons import Crafting
    from unlearnable.training.device import choose_device, enough_memory

    with bar(f"craft {poison}") as progress, enough_memory(_sized_by(poison, settings.get(poison) or {})):
        report = partial(log_round, "crafting", "round")
        yield Crafting(seed=settings["seed"], device=choose_device(device), progress=progress, report=report)


def _sized_by(poison: str, settings: dict[str, Any]) -> str:
    """Return the parameter that says how many images are worked at together."""
    sizes = {"surrogate": "surrogate.batch_size", "block_size": "block_size", "batch_size": "batch_size"}
    return next((f"craft.{poison}.{size}" for name, size in sizes.items() if name in settings), "ingest.train_size")
