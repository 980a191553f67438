"""Exceptions that the user can mend: the message is a single line that names what was wrong."""


class InputError(ValueError):
    """A parameter, file or dataset is not what was asked for; the message says which, what was expected and what came."""


class DivergedError(InputError):
    """A training's loss or weights are no longer finite numbers."""
