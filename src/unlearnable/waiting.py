"""How the threads of OpenMP wait for one another, which they do at every step of a training."""

import os

SPINS = "1000"  # looks at what it waits for before a thread sleeps; benchmarks.threads measures others
OF_THE_USER = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def politely() -> None:
    """Have threads sleep soon, unless the user has said how they are to wait. It is read when torch is imported, so this goes before.

    By default they spin for ever: beside another busy process a step then waits for a thread that has no core, while the one that has
    it spins.
    """
    if not any(name in os.environ for name in OF_THE_USER):
        os.environ["GOMP_SPINCOUNT"] = SPINS
