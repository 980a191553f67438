"""The cards of this machine, and which part of a study has which. CUDA is not started here: the process that asks only hands out."""

import os
from collections import Counter
from collections.abc import Sequence

import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
RUNS_A_CARD = 2  # at a time: one has work for the card while the other waits for its host


def cards() -> list[str]:
    """Return the cards of this machine, as CUDA_VISIBLE_DEVICES names them; where the user has set that, those in it."""
    count = torch.cuda.device_count()  # by the driver's library, with regard to that variable
    named = os.environ.get(VISIBLE)
    names = [str(number) for number in range(count)] if named is None else [name.strip() for name in named.split(",")]
    return names[:count]


class Cards:
    """Hands out cards: a part has the one that fewest others have."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._held: dict[str, str] = {}

    def given(self, key: str) -> str | None:
        """Return the card of the part ``key`` until it is taken ``back``; None where there are none. One that is tried again has one."""
        self.back(key)
        others = Counter(self._held.values())
        card = min(self._names, key=others.__getitem__, default=None)
        if card is not None:
            self._held[key] = card
        return card

    def back(self, key: str) -> None:
        """Take back what that part has."""
        self._held.pop(key, None)
