"""What a training yields after every epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

DECISIVE = ("device", "precision")  # of what a training is made on: a resumed training needs the same, or its numbers differ
THEN = ", then "
KINDS = {"cpu": "CPU", "cuda": "GPU"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A network after ``epoch`` of ``epochs`` epochs.

    Args:
        epoch: 1 to ``epochs``.
        epochs: how many the whole training has.
        state: the model's state dict, on the CPU.
        history: what was measured in each epoch so far: loss, test_accuracy (fraction), learning_rate,
            images_per_second, seconds and threads (of torch on the CPU).
        training: what resuming needs beside the model: momentum, generator and steps done, by name. Empty after the
            last epoch, and if a store has dropped it.
        made_on: what ``training.device.made_on`` says of where it was made. Empty if it is not known.
    """

    epoch: int
    epochs: int
    state: dict[str, Tensor]
    history: list[dict[str, float]]
    training: dict[str, Tensor] = field(default_factory=dict)
    made_on: dict[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> dict[str, float]:
        """What was measured in this epoch."""
        return self.history[-1]

    @property
    def seconds(self) -> float:
        """How long all epochs so far took."""
        return sum(epoch["seconds"] for epoch in self.history)

    @property
    def threads(self) -> list[int]:
        """With how many threads epochs were computed, each number once, in rising order."""
        return sorted({int(epoch["threads"]) for epoch in self.history})

    @property
    def is_last(self) -> bool:
        """Whether the training ends here."""
        return self.epoch == self.epochs


def goes_on(there: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """Return whether a training that began ``there`` may resume ``here``; unknown facts do not count."""
    return all(there[name] == here[name] for name in DECISIVE if name in there and name in here)


def carried_on(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return what a training that resumes ``now`` is made on: if that differs from ``before``, both, in that order."""
    return {**before, **{name: _then(before.get(name, value), value) for name, value in now.items()}}


def _then(before: str, now: str) -> str:
    return before if before.rsplit(THEN, maxsplit=1)[-1] == now else before + THEN + now


def spelled(made_on: Mapping[str, str]) -> str:
    """Return kind and precision in words: a GPU in bfloat16."""
    return f"a {KINDS[made_on['device']]} in {made_on['precision']}"
