"""The one exception that the user can mend: its message is a single line that names what was wrong."""


class InputError(ValueError):
    """A parameter, file or dataset is not what was asked for; the message says which, what was expected and what came."""
