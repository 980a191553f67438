"""The cells in the order in which they are wanted, and what each is expected to take."""

from dataclasses import dataclass
from typing import Any

WHOLE = 50_000  # training images
ON_THE_CARD = ("em_samplewise", "em_classwise", "ops_plus_em", "rem", "tap", "error_max", "hypo", "ntga", "pil")  # have a surrogate
PLAIN = ("poisoned", "dfr")  # crop and flip over 60 epochs, as in the peers' tables; the others have the recipe of Orthogonal Projection

# Seconds of the engine's checks on an H100, of half of the images.
CHECKS = {"step": 15.0, "augmentation": 3.0, "subspace": 15.0, "dfr_head": 10.0, "pil": 10.0, "em_samplewise": 12.0, "ntga": 12.0}
CHECKS |= {"resume": 12.0, "rerun": 12.0, "graphs": 12.0, "milliseconds": 15.0}
# Seconds there of all of the images: an epoch of a network, DFR's questions to one checkpoint, the whole of all else.
SECONDS = {"epoch/resnet18": 1.1, "epoch/vgg16": 0.9, "epoch/vit_patch4": 2.5, "epoch/tiny_cnn": 40.0}
SECONDS |= {"probe/resnet18": 0.45, "probe/vgg16": 0.45, "probe/vit_patch4": 0.9, "probe/tiny_cnn": 60.0}
SECONDS |= {"craft/em_samplewise": 140.0, "craft/em_classwise": 60.0, "craft/pil": 10.0, "craft/ntga": 60.0}
SECONDS |= {"separability": 20.0, "prepare": 3.0, **{f"engine/{check}": 2 * seconds for check, seconds in CHECKS.items()}}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement, with a key that stays what it is.

    Args:
        what: ``clean``, ``poisoned``, ``orthogonal_projection``, ``dfr`` or ``separability``; of the engine's part the name of a check.
        poison: what the training images are poisoned with.
        network: which is trained.
        dataset: whose images.
        seed: of the training; a poison is crafted once, with seed 0.
        part: ``engine`` or ``paper``.
    """

    what: str
    poison: str = "none"
    network: str = "resnet18"
    dataset: str = "cifar10"
    seed: int = 0
    part: str = "paper"

    @property
    def key(self) -> str:
        """The name of the cell in files of results."""
        return f"engine/{self.what}" if self.part == "engine" else f"{self.row}/{self.seed}"

    @property
    def row(self) -> str:
        """The name of the cell's row, which has all of its seeds."""
        return f"{self.dataset}/{self.network}/{self.poison}/{self.what}"


def _cells(*pairs: tuple[str, str], **same: Any) -> list[Cell]:
    return [Cell(poison=poison, what=what, **same) for poison, what in pairs]


OP = "orthogonal_projection"
FIRST_TWO = (("ops", OP), ("none", "clean"))
# A training for DFR is a poisoned one too, whose line it leaves; alone that is trained only where DFR does not fit.
FIRST: tuple[tuple[str, str], ...] = (*FIRST_TWO, ("ops", "dfr"), ("lsp", OP), ("ar", OP), ("ops", "poisoned"))
FIRST += (("lsp", "dfr"), ("lsp", "poisoned"), ("ar", "dfr"), ("ar", "poisoned"))
LATER: tuple[tuple[str, str], ...] = (
    ("em_samplewise", "separability"),
    ("em_samplewise", OP),
    ("em_samplewise", "dfr"),
    ("em_samplewise", "poisoned"),
)
LATER += tuple((poison, what) for poison in ("em_classwise", "pil", "ntga") for what in ("separability", OP, "poisoned"))
PAPER = [
    *_cells(*FIRST, *LATER),
    *_cells(*FIRST_TWO, network="vgg16"),
    *_cells(*FIRST_TWO, network="vit_patch4"),
    *_cells(*FIRST, seed=1),
    *_cells(*FIRST, seed=2),
    *_cells(*FIRST_TWO, dataset="cifar100"),
]
CELLS = [*(Cell(what=check, part="engine") for check in CHECKS), *PAPER]


class Rates:
    """Seconds for each training image of everything that takes time; what was measured last is what is expected next."""

    def __init__(self) -> None:
        self._measured: dict[str, float] = {}

    def measured(self, kind: str, seconds: float, images: int) -> None:
        """Note what one epoch, or one of whatever ``kind`` is, took of that many images."""
        self._measured[kind] = seconds / images

    def seconds(self, kind: str, images: int) -> float:
        """Return what one of that kind is expected to take."""
        return self._measured.get(kind, SECONDS[kind] / WHOLE) * images


def needs(cell: Cell, model: str, epochs: int, *, crafted: bool) -> list[tuple[str, int]]:
    """Return the kinds of what a cell does, and how often it does each; ``crafted`` where its poison is there already."""
    if cell.part == "engine":
        return [(f"engine/{cell.what}", 1)]
    found = [("prepare", 1)]
    if cell.poison in ON_THE_CARD and not crafted:
        found.append((f"craft/{cell.poison}", 1))
    if cell.what == "separability":
        return [*found, ("separability", 1)]
    if cell.what == "dfr":
        found.append((f"probe/{model}", epochs + 1))  # the network before its first step is asked too
    return [*found, (f"epoch/{model}", epochs)]
