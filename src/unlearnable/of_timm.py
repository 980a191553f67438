"""Names of timm's networks, and of the weights that timm publishes; torch is not imported for them."""

from unlearnable.errors import InputError

PREFIX = "timm:"  # what the names of timm's networks begin with
TIMM = "timm"  # said instead of a file of weights, for those that timm publishes


def require_published(training: str, model: str, weights: str | None) -> None:
    """Raise InputError if a training is to start from weights that timm publishes, and the network is none of timm's."""
    if weights == TIMM and not model.startswith(PREFIX):
        raise InputError(f"{training}.weights: expected a file for '{model}', got '{TIMM}', which has weights of {PREFIX}NAME alone")
