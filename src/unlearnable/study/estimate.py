"""How long a study may take, by what its finished parts took."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from unlearnable.config.recipe import NONE
from unlearnable.recoveries import recovery_named
from unlearnable.study.cells import Cell, Grid, Part
from unlearnable.study.plan import Plan

NAMED = 3  # labels that are shown
Kind = tuple[str, ...]


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
        if not self.seconds:
            return "how long they take is known once some are made"
        told = f"about {max(1.0, self.seconds / self.slots / 60):.0f} min, {self.slots} at a time"
        named, more = ", ".join(self.unknown[:NAMED]), len(self.unknown) - NAMED
        others = f" and {more} others" if more > 0 else ""
        return f"{told}; without {named}{others}, of which nothing is known yet" if named else told


def estimate(plan: Plan, parts: Mapping[str, Part], slots: int) -> Estimate:
    """Return how long ``parts`` may take, by the median of the finished ones of each kind.

    Of a recovery of which none is finished, a cell is taken to be as many plain trainings as it needs passes of the network.
    """
    cells = _cells(plan.grid)
    took = defaultdict[Kind, list[float]](list)
    for key, seconds in plan.noted().seconds.items():
        if key in cells:
            took[_kind(plan.grid.parts[key], cells[key])].append(seconds)
    known = {kind: median(values) for kind, values in took.items()}
    found = {key: known.get(_kind(part, cells[key])) or _by_passes(part, cells[key], known) for key, part in parts.items()}
    unknown = tuple(parts[key].label for key, seconds in found.items() if seconds is None)
    return Estimate(seconds=sum(filter(None, found.values())), slots=slots, unknown=unknown)


def _cells(grid: Grid) -> dict[str, Cell]:
    """Return a cell that needs it for each part, by the part's key."""
    found = {cell.key: cell for cell in grid.cells}
    for key in reversed(grid.parts):  # a part comes after what it depends on
        for before in grid.parts[key].before:
            found.setdefault(before, found[key])
    return found


def _kind(part: Part, cell: Cell) -> Kind:
    """Return what parts have in common that take the same time."""
    names = {"select_images": (), "craft_poison": (cell.poison,), "recover": (cell.recovery, cell.model)}
    return (part.stage, *names.get(part.stage, (cell.model,)), cell.override)


def _by_passes(part: Part, cell: Cell, known: Mapping[Kind, float]) -> float | None:
    plain = known.get(("train_clean", cell.model, cell.override))
    if part.stage != "recover" or cell.recovery == NONE or plain is None:
        return None
    return plain * recovery_named(cell.recovery, cell.parameters["recover"].get(cell.recovery) or {}).needs.passes
