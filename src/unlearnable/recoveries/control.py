"""The control: train on the poisoned set as it is."""

from dataclasses import dataclass

from unlearnable.recoveries.base import Recovery, register


@register("none")
@dataclass(frozen=True, kw_only=True)
class NoRecovery(Recovery):
    """No recovery."""
