"""Poisons, each crafted once and kept: those without a surrogate ahead, by processes on the CPU, the others on the card."""

import dataclasses
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.poisons import Crafting, craft
from unlearnable.training import no_report

SEED = 0  # of every poison; the seeds of cells are those of trainings
Report = Callable[[int, dict[str, float]], None]


def keep(name: str, clean: LabelledImages, settings: dict[str, Any], path: Path, device: torch.device, report: Report) -> None:
    """Craft a poison and write its images to ``path``, and what was measured beside it, wholly or not at all."""
    from benchmarks.poisons import norms

    start = time.perf_counter()
    poisoned = craft(name, clean, Crafting(seed=SEED, device=device, report=report), settings=settings)
    about = {"crafting_seconds": time.perf_counter() - start, **norms(clean, poisoned)}
    path.with_suffix(".json").write_text(json.dumps(about))
    save(path, poisoned.images)


def save(path: Path, values: npt.NDArray[Any]) -> None:
    """Write an array wholly or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def kept(path: Path, clean: LabelledImages) -> tuple[LabelledImages, dict[str, float]]:
    """Return the poisoned set at ``path`` and what was measured of its crafting.

    Raises:
        InputError: it is of other images.
    """
    images = np.load(path, allow_pickle=False)  # of our own  # noqa: TID251
    if images.shape != clean.images.shape:
        raise InputError(f"{path}: expected images {clean.images.shape}, got {images.shape}: is it of another --data or --dry-run?")
    return dataclasses.replace(clean, images=images), json.loads(path.with_suffix(".json").read_text())


def on_the_cpu(name: str, clean: tuple[Path, Path, int], settings: dict[str, Any], path: Path, threads: int) -> None:
    """Craft a poison in a process of its own, which sees no card."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(threads)
    images, labels = (np.load(file, allow_pickle=False) for file in clean[:2])  # of our own  # noqa: TID251
    keep(name, LabelledImages(images=images, labels=labels, num_classes=clean[2]), settings, path, torch.device("cpu"), no_report)


class Ahead:
    """Processes that craft while the card trains."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._processes: dict[Path, BaseProcess] = {}
        self._saved: set[str] = set()

    def start(self, name: str, clean: LabelledImages, settings: dict[str, Any], path: Path) -> None:
        """Begin to craft what is neither there nor begun."""
        if path.exists() or path in self._processes:
            return
        # By files: what is passed on goes through a pipe, at which this process would wait for ever if that one died at its start.
        dataset = path.name.partition("-")[0]
        files = path.with_name(f"{dataset}-images.npy"), path.with_name(f"{dataset}-labels.npy")
        if dataset not in self._saved:
            save(files[0], clean.images)
            save(files[1], clean.labels)
            self._saved.add(dataset)
        work = (name, (*files, clean.num_classes), settings, path, self._threads)
        process = multiprocessing.get_context("spawn").Process(target=on_the_cpu, args=work, daemon=True)
        process.start()
        self._processes[path] = process

    def ended(self, path: Path) -> bool:
        """Return whether the process that was to craft it has ended, be it well or not."""
        return path in self._processes and not self._processes[path].is_alive()

    def wait(self, path: Path, seconds: float) -> None:
        """Wait until it is crafted, at most so long."""
        self._processes[path].join(seconds)

    def stop(self) -> None:
        """End what is not done."""
        for process in self._processes.values():
            process.kill()
            process.join()
