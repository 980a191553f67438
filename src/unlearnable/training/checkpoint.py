"""What a training hands on after every epoch."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A network after ``epoch`` of ``epochs`` epochs.

    Args:
        epoch: 1 to ``epochs``.
        epochs: how many the whole training has.
        state: the model's state dict, on the CPU.
        history: what was measured in each epoch so far: loss, test_accuracy (fraction), learning_rate,
            images_per_second, seconds and threads (of torch on the CPU).
        training: what goes on from here beside the model: momentum, generator and steps done, by name. Empty after the
            last epoch, and where a store has dropped it.
    """

    epoch: int
    epochs: int
    state: dict[str, Tensor]
    history: list[dict[str, float]]
    training: dict[str, Tensor] = field(default_factory=dict)

    @property
    def measured(self) -> dict[str, float]:
        """What was measured in this epoch."""
        return self.history[-1]

    @property
    def is_last(self) -> bool:
        """Whether the training ends here."""
        return self.epoch == self.epochs
