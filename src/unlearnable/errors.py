"""Errors that the user can fix: the message is a single line that names what was wrong."""

from typing import Any


class InputError(ValueError):
    """A parameter, file or dataset is wrong; the message says which one, what was expected and what came."""


class DivergedError(InputError):
    """A training's loss or weights are no longer finite numbers."""


def wrong_setting(file: str, problem: Any) -> str:
    """Return the line for one of pydantic's problems with a setting of ``file``."""
    kinds = {"extra_forbidden": "no such setting", "missing": "a value"}
    expected = kinds.get(problem["type"], problem["msg"].removeprefix("Input should be "))
    return f"{file}: '{problem['loc'][0]}': expected {expected}, got {problem['input']!r}"
