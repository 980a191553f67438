from pathlib import Path

import pytest

from unlearnable.artifacts.packing import packed
from unlearnable.errors import InputError
from unlearnable.sources.foreign import convert
from unlearnable.sources.foreign.releases import Request
from unlearnable.sources.released import ReleasedPoison


@pytest.fixture
def here(monkeypatch):
    """Read releases in this process, which spares a start of Python for each case."""

    def answer(self, clean):
        try:
            asked = Request(path=Path(self.path), format=self.format, rounding=self._rounding(), budget=self.budget)
            return b"".join(packed(*convert.converted(asked, clean)))
        except InputError as error:
            raise InputError(f"released_poison.path ({self.path}): {error}") from error

    monkeypatch.setattr(ReleasedPoison, "_answer", answer)
