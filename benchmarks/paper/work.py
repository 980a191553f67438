"""How a cell is measured, and its line."""

import gc
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.paper import machine
from benchmarks.paper.agreement import CHECK, Ground
from benchmarks.paper.cells import ON_THE_CARD, PLAIN, SECONDS, WHOLE, Cell, Rates, needs
from benchmarks.paper.data import PARTS, unpacked
from benchmarks.paper.lines import Line, Log
from benchmarks.paper.poisons import Ahead, keep, kept
from benchmarks.poisons import Settings, merged, say, settings_of
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages, balanced_subset
from unlearnable.probes import ReweightingRecipe, SeparabilityRecipe, perturbations, reweight, separability
from unlearnable.recoveries import recover
from unlearnable.training import Checkpoint, fit_named, recipe_from
from unlearnable.training.device import name_of

COUNTS = [500, 1000, 5000, 15_000]  # clean samples
SMALL_MODEL, SMALL, SMALL_TEST = "tiny_cnn", 200, 100  # of a dry run
_FEW = {"epochs": 2, "batch_size": 32, "milestones": [1]}
_SURROGATE = {"surrogate": {"model": SMALL_MODEL, "batch_size": 32}, "noise": {"steps": 1, "rounds": 1}}
DRY: Settings = {
    "train": _FEW,
    "probe": {"clean_samples": [20, 40], "held_out": 20, "train": _FEW},
    "recover": {"orthogonal_projection": {"epochs": 2, "batch_size": 64}},
    "separability": {"iterations": 3, "linear_iterations": 3},
    "craft": {"em_samplewise": _SURROGATE, "em_classwise": _SURROGATE, "pil": {"epochs": 1}, "ntga": {"held_out": 50, "steps": 1}},
}


class Bench:
    """A device with images, poisons and what was measured so far.

    Args:
        data: the folder of packed images.
        out: the folder of results.
        device: where networks are trained and the poisons with a surrogate are crafted.
        dry: whether everything is small.
        commit: of the code, where it cannot be asked for.
    """

    def __init__(self, *, data: Path, out: Path, device: torch.device, dry: bool, commit: str | None) -> None:
        self.data, self.device, self.dry, self.commit = data, device, dry, commit
        self.log, self.rates = Log(out), Rates()
        self.machine = name_of(device)
        self.poisons = out / "poisons"
        self.poisons.mkdir(exist_ok=True)
        self.ahead = Ahead(threads=1 if dry else max(1, min(4, (os.cpu_count() or 1) // 4)))
        self._sets: dict[str, tuple[LabelledImages, LabelledImages]] = {}
        self._flags: dict[str, Any] | None = None
        for line in self.log.epochs:
            self._learn(line)

    # ---- what a cell is about

    def key(self, cell: Cell) -> str:
        """Return the key of a cell, which a dry run has of its own."""
        return f"dry/{cell.key}" if self.dry else cell.key

    def model(self, cell: Cell) -> str:
        """Return the network that is trained."""
        return SMALL_MODEL if self.dry else cell.network

    def settings(self, cell: Cell) -> Settings:
        """Return the settings of the environment that is named for the dataset."""
        return _settings(cell.dataset, cell.network, dry=self.dry)

    def trained_by(self, cell: Cell) -> Settings:
        """Return the settings of the cell's training."""
        settings = self.settings(cell)
        found: Settings = settings["probe"]["train"] if cell.what in PLAIN else settings["train"]
        return found

    def sets(self, dataset: str) -> tuple[LabelledImages, LabelledImages]:
        """Return training and test images."""
        if dataset not in self._sets:
            train, test = unpacked(dataset, self.data, ("train_a", "train_b")), unpacked(dataset, self.data, ("test",))
            rng = np.random.default_rng(0)
            small = balanced_subset(train, SMALL, rng), balanced_subset(test, SMALL_TEST, rng)
            self._sets[dataset] = small if self.dry else (train, test)
        return self._sets[dataset]

    @cached_property
    def half(self) -> LabelledImages:
        """The first half of CIFAR-10's training images."""
        images = unpacked("cifar10", self.data, PARTS["engine"])
        return balanced_subset(images, SMALL, np.random.default_rng(0)) if self.dry else images

    # ---- what comes before it

    def path(self, cell: Cell) -> Path:
        """Return where the cell's poison is kept."""
        return self.poisons / f"{cell.dataset}-{cell.poison}.npy"

    def crafted_ahead(self, cell: Cell) -> bool:
        """Return whether the cell's poison is one that the CPU crafts."""
        return cell.part == "paper" and cell.poison not in ("none", *ON_THE_CARD)

    def start_crafting(self, cell: Cell) -> None:
        """Let the CPU begin with the poison of a cell, if it is one of its own."""
        if self.crafted_ahead(cell):
            settings = self.settings(cell)["craft"].get(cell.poison) or {}
            self.ahead.start(cell.poison, self.sets(cell.dataset)[0], settings, self.path(cell))

    def ready(self, cell: Cell) -> bool:
        """Return whether the cell need not wait for a poison, be it that this one could not be crafted."""
        return not self.crafted_ahead(cell) or self.path(cell).exists() or self.ahead.ended(self.path(cell))

    def estimate(self, cell: Cell) -> float:
        """Return the seconds that the cell is expected to take."""
        images = SMALL if self.dry else WHOLE if cell.part == "paper" else WHOLE // 2
        epochs = self.trained_by(cell)["epochs"] if cell.part == "paper" else 0
        kinds = needs(cell, self.model(cell), epochs, crafted=self.path(cell).exists())
        return sum(times * self.rates.seconds(kind, images) for kind, times in kinds)

    def poisoned(self, cell: Cell) -> tuple[LabelledImages, dict[str, float]]:
        """Return the set that the cell is about, and what was measured of its crafting."""
        clean, path = self.sets(cell.dataset)[0], self.path(cell)
        if cell.poison == "none":
            return clean, {}
        if cell.poison in ON_THE_CARD and not path.exists():
            report = self._reporter(cell, f"round/{cell.poison}", len(clean))
            keep(cell.poison, clean, self.settings(cell)["craft"].get(cell.poison) or {}, path, self.device, report)
        if not path.exists():
            raise InputError(f"poison '{cell.poison}': expected it to be crafted on the CPU, got a process that failed")
        return kept(path, clean)

    # ---- the cell itself

    def run(self, cell: Cell) -> None:
        """Measure a cell and write its line; what fails in it is its line."""
        say(f"{self.key(cell)}: expected to take {self.estimate(cell):.0f} s")
        machine.forget_peak(self.device)
        start, self._flags = time.perf_counter(), None
        try:
            found = self._measured(cell, start)
        except (InputError, MemoryError, torch.OutOfMemoryError) as error:
            found = {"failed": _one_line(error)}
        except Exception as error:  # a fault in one cell must not cost the minutes of the others
            traceback.print_exc()
            found = {"failed": f"{type(error).__name__}: {_one_line(error)}"}
        self._write(cell, found, start)
        gc.collect()  # what a failed cell held on the card
        self._require_device()

    def _measured(self, cell: Cell, start: float) -> Line:
        if cell.part == "engine":
            return {"found": CHECK[cell.what](self._ground(cell))}
        poisoned, about = self.poisoned(cell)
        if cell.what == "separability":
            return {**about, "separability": self._separability(cell, poisoned)}
        if cell.what == "dfr":
            return self._reweighted(cell, poisoned, about, start)
        if cell.what == "orthogonal_projection":
            fit = self.settings(cell)["recover"][cell.what]
            poisoned = recover(cell.what, poisoned, seed=cell.seed, device=self.device, settings=fit)
        return {**about, **_result(self._trained(cell, poisoned)[-1])}

    def _ground(self, cell: Cell) -> Ground:
        report = self._reporter(cell, f"epoch/{self.model(cell)}", len(self.half))
        return Ground(images=self.half, device=self.device, model=self.model(cell), settings=self.settings(cell), report=report)

    def _trained(self, cell: Cell, train: LabelledImages) -> list[Checkpoint]:
        """Return the checkpoints of a training, of all epochs where they are asked about later, else the last."""
        clean, test = self.sets(cell.dataset)
        recipe, kept = recipe_from(self.trained_by(cell)), list[Checkpoint]()
        report = self._reporter(cell, f"epoch/{self.model(cell)}", len(train))
        options = {"like": clean, "recipe": recipe, "seed": cell.seed, "device": self.device.type, "resumable": False}
        for checkpoint in fit_named(self.model(cell), train, test, **options):
            self._flags = machine.flags(self.device, recipe.precision)
            report(checkpoint.epoch, checkpoint.measured)
            if cell.what != "dfr":
                kept.clear()
            kept.append(checkpoint)
        return kept

    def _reweighted(self, cell: Cell, poisoned: LabelledImages, about: dict[str, float], start: float) -> Line:
        """Train on the poison, which is the cell ``poisoned`` too, and ask every checkpoint."""
        checkpoints, (clean, test) = self._trained(cell, poisoned), self.sets(cell.dataset)
        trained = {**about, **_result(checkpoints[-1])}
        twin = replace(cell, what="poisoned")
        if self.key(twin) not in self.done():
            self._write(twin, trained, start)
        settings = {name: value for name, value in self.settings(cell)["probe"].items() if name != "train"}
        rows = reweight(
            checkpoints,
            clean,
            test,
            model=self.model(cell),
            training=recipe_from(self.trained_by(cell)),
            recipe=ReweightingRecipe(**settings),
            seed=cell.seed,
            device=self.device,
            report=self._reporter(cell, f"probe/{self.model(cell)}", len(clean)),
        )
        return {**trained, "rows": rows}

    def _separability(self, cell: Cell, poisoned: LabelledImages) -> dict[str, Any]:
        """Return what the probe finds with nothing held out, as in the paper."""
        clean, settings = self.sets(cell.dataset)[0], self.settings(cell)["separability"] | {"held_out": 0.0}
        found = separability(
            perturbations(clean, poisoned),
            torch.from_numpy(clean.labels),
            num_classes=clean.num_classes,
            recipe=SeparabilityRecipe(**settings),
            device=self.device,
        )
        return {name: {key: value for key, value in fit.items() if key != "curve"} for name, fit in found["models"].items()}

    # ---- what is written

    def done(self) -> set[str]:
        """Return the keys of the cells in the folder of results."""
        return {line["key"] for line in self.log.cells}

    def _write(self, cell: Cell, found: Line, start: float) -> None:
        recipe = "plain" if cell.what in PLAIN else "published"
        about = {"key": self.key(cell), **asdict(cell), "model": self.model(cell), "recipe": recipe, "machine": self.machine}
        flags = self._flags or machine.flags(self.device, "auto")
        measured = {"flags": flags, "versions": machine.versions(self.commit), "peak_gib": machine.peak_gib(self.device)}
        self.log.cell({**about, **measured, **found, "seconds": time.perf_counter() - start})
        say(f"{self.key(cell)}: {found.get('failed') or found.get('accuracy', 'done')}")

    def _reporter(self, cell: Cell, kind: str, images: int) -> Callable[[int, dict[str, float]], None]:
        """Return what writes a line for each epoch, or for whatever ``kind`` is, with the seconds since the last one."""
        start = time.perf_counter()

        def report(number: int, measured: dict[str, float]) -> None:
            nonlocal start
            now = time.perf_counter()
            about = {"key": self.key(cell), "kind": kind, "number": number, "wall": now - start, "images": images}
            start = now
            self.log.epoch({**about, "machine": self.machine, **measured})
            self._learn(self.log.epochs[-1])

        return report

    def _learn(self, line: Line) -> None:
        """Expect from now on what an epoch took on this machine."""
        if line["kind"] in SECONDS and line["machine"] == self.machine:
            self.rates.measured(line["kind"], line["wall"], line["images"])

    def _require_device(self) -> None:
        """Raise InputError where the card answers no more, so that not every cell that is left is written down as failed."""
        try:
            torch.zeros(1, device=self.device).item()
        except RuntimeError as error:
            raise InputError(f"--device: expected a card that answers, got {_one_line(error)}") from None


@cache
def _settings(dataset: str, network: str, *, dry: bool) -> Settings:
    settings = settings_of(dataset, network)
    settings["probe"]["clean_samples"] = COUNTS
    return merged(settings, DRY) if dry else settings


def _result(last: Checkpoint) -> Line:
    """Return what a training came to: accuracies are fractions of the clean test images."""
    peak = max(epoch["test_accuracy"] for epoch in last.history)
    return {"accuracy": last.measured["test_accuracy"], "peak": peak, "loss": last.measured["loss"], "history": last.history}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
