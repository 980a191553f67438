"""How long a study may take: by what its finished parts took, else by a few steps of each training."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median

import numpy as np
import torch

from unlearnable.images import LabelledImages
from unlearnable.poisons import POISONS
from unlearnable.recoveries import recovery_named
from unlearnable.study.cells import Cell, Grid, Part
from unlearnable.study.plan import Plan
from unlearnable.training import fit_named, recipe_from

START_S = 10.0  # of a run until it computes, and of its figures: 8 to 12 s on two cores
NAMED = 3  # labels that are shown
STEPS = 12  # that are timed, the first two of them not


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long it may take.

    Args:
        seconds: of all parts together.
        slots: how many are made at a time.
        unknown: labels of parts of which nothing is known yet; they are not in ``seconds``.
    """

    seconds: float
    slots: int
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        minutes = self.seconds / self.slots / 60
        told = f"about {max(1.0, minutes):.0f} min, {self.slots} at a time"
        return f"{told}; without {_some(self.unknown)}, of which nothing is known yet" if self.unknown else told


def estimate(plan: Plan, parts: Mapping[str, Part], slots: int, *, on_cards: bool = False) -> Estimate:
    """Return how long ``parts`` may take; of trainings ``on_cards`` nothing is known before one is finished: a CPU cannot tell."""
    cells = _cells(plan.grid)
    known = _known(plan, cells)
    seconds = {
        key: known.get(_kind(part, cells[key])) or _computed(part.stage, cells[key], on_cards=on_cards) for key, part in parts.items()
    }
    unknown = tuple(parts[key].label for key, value in seconds.items() if value is None)
    return Estimate(seconds=sum(value for value in seconds.values() if value is not None), slots=slots, unknown=unknown)


def _cells(grid: Grid) -> dict[str, Cell]:
    """Return a cell that needs it for each part, by the part's key."""
    found = {cell.part.key: cell for cell in grid.cells}
    for key in reversed(grid.parts):  # a part comes after what it depends on
        for before in grid.parts[key].before:
            found.setdefault(before, found[key])
    return found


def _some(labels: tuple[str, ...]) -> str:
    named = ", ".join(labels[:NAMED])
    return named if len(labels) <= NAMED else f"{named} and {len(labels) - NAMED} others"


def _known(plan: Plan, cells: Mapping[str, Cell]) -> dict[tuple[str, ...], float]:
    """Return the median seconds of the parts of each kind that are finished."""
    found = defaultdict(list)
    for key, seconds in plan.noted().seconds.items():
        if key in cells:
            found[_kind(plan.grid.parts[key], cells[key])].append(seconds)
    return {kind: median(values) for kind, values in found.items()}


def _kind(part: Part, cell: Cell) -> tuple[str, ...]:
    """Return what parts have in common that take the same time."""
    names = {"select_images": (), "craft_poison": (cell.poison,), "recover": (cell.recovery, cell.model)}
    return (part.stage, *names.get(part.stage, (cell.model,)), cell.override)


def _computed(stage: str, cell: Cell, *, on_cards: bool) -> float | None:
    """Return the seconds of a part by its trainings; None where that cannot be known."""
    parameters = cell.parameters
    images = parameters["ingest"]["train_size"]
    if stage == "craft_poison" and "surrogate" in (parameters["craft"].get(cell.poison) or {}):
        return None
    if not (stage.startswith("train_") or stage in ("recover", "dfr")):
        return START_S
    if images is None or cell.poison not in POISONS:
        return None
    if stage == "recover" and cell.recovery == "none":
        return START_S
    if on_cards and parameters["device"] != "cpu":
        return None
    recipe = parameters["probe"]["train"] if stage == "dfr" else parameters["train"]
    passes = recovery_named(cell.recovery, parameters["recover"].get(cell.recovery) or {}).needs.passes if stage == "recover" else 1.0
    trained: float = recipe["epochs"] * images * passes * _seconds_an_image(cell.model, recipe["batch_size"], parameters["threads"] or 1)
    return START_S + trained


@cache
def _seconds_an_image(model: str, batch_size: int, threads: int) -> float:
    """Return the seconds that an image takes in a step of training, by a few steps on noise of 32x32 pixels."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    times: list[float] = []

    def note(done: int, total: int) -> None:  # noqa: ARG001
        times.append(time.perf_counter())

    recipe = recipe_from({"epochs": 1, "batch_size": batch_size, "learning_rate": 0.01})
    few = _noise(10)
    try:
        list(fit_named(model, _noise(STEPS * batch_size), few, like=few, recipe=recipe, seed=0, device="cpu", progress=note))
    finally:
        torch.set_num_threads(before)
    return float(np.median(np.diff(times)[1:])) / batch_size


def _noise(count: int) -> LabelledImages:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(count, 3, 32, 32), dtype=np.uint8)
    return LabelledImages(images=images, labels=np.arange(count) % 10, num_classes=10)
