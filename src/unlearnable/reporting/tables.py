"""The results of a study as numbers: means over seeds with the sample standard deviation, gains, times and curves."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pandas as pd

from unlearnable.metrics import paired_difference
from unlearnable.reporting.findings import RECOVER, Findings

CONTROL = "none"  # of poisons and of recoveries
PANEL = ["dataset", "model", "override"]  # identifies a heat map
GROUP = [*PANEL, "poison", "recovery"]  # identifies a group, which is averaged over seeds
NETWORK = [*PANEL, "poison"]  # identifies a curve
PROBED = ["dataset", "override"]  # identifies a figure of separability
OWN_HEAD = "own head"
CLEAN = "clean images"


def ordered(names: Iterable[str]) -> list[str]:
    """Return each name once: the control first, then the others in their order."""
    return sorted(dict.fromkeys(names), key=lambda name: name != CONTROL)


def records(table: pd.DataFrame) -> Iterator[Any]:
    """Return the rows, each with its columns as attributes."""
    return iter(table.itertuples(index=False))


def summary(findings: Findings) -> pd.DataFrame:
    """Return a row for each combination of poison and recovery of a dataset, a model and overrides that has a finished cell.

    Returns:
        dataset, model, override, poison, recovery; ``n`` measured seeds, 0 if there are none; ``mean`` and ``sd`` (the sample's, NaN for
        one seed) of accuracy; mean ``peak``; ``gain`` over no recovery of the same poison and seed, with ``gain_sd``, ``pairs`` of
        seeds, ``low``, ``high`` and ``verdict`` of ``metrics.paired_difference``; mean ``seconds`` of recovery and training.
    """
    cells = findings.cells.assign(seconds=whole_seconds(findings.cells))
    found = cells.groupby(GROUP, sort=False).agg(
        n=("accuracy", "count"), mean=("accuracy", "mean"), sd=("accuracy", "std"), peak=("peak", "mean"), seconds=("seconds", "mean")
    )
    table = found.join(_gains(cells)).reindex(_combinations(findings))
    return table.fillna({"n": 0, "pairs": 0}).astype({"n": int, "pairs": int}).reset_index()


def whole_seconds(cells: pd.DataFrame) -> pd.Series:
    """Return the seconds of each cell's recovery and training together; a recovery that was not timed counts as 0."""
    return cells["seconds_recovery"].fillna(0) + cells["seconds_training"]


def _combinations(findings: Findings) -> pd.MultiIndex:
    unfinished = findings.unfinished[findings.unfinished["chain"] == RECOVER]
    names = pd.concat([findings.cells[GROUP], unfinished[GROUP]])
    finished = set(findings.cells[PANEL].itertuples(index=False, name=None))
    rows = [
        (*panel, poison, recovery)
        for panel, found in names.groupby(PANEL, sort=False)
        if panel in finished
        for poison, recovery in product(ordered(found["poison"]), ordered(found["recovery"]))
    ]
    return pd.MultiIndex.from_tuples(rows, names=GROUP) if rows else pd.MultiIndex.from_arrays([[]] * len(GROUP), names=GROUP)


def _with_control(cells: pd.DataFrame) -> pd.DataFrame:
    """Return each cell with its control, the cell of the same poison and seed without a recovery, in columns ending in ``_control``."""
    key = [*PANEL, "poison", "seed"]
    control = cells.loc[cells["recovery"] == CONTROL, [*key, "accuracy", "seconds"]]
    return cells.merge(control, on=key, suffixes=("", "_control"))


def _gains(cells: pd.DataFrame) -> pd.DataFrame:
    paired = _with_control(cells[["seed", *GROUP, "accuracy", "seconds"]])
    paired = paired[paired["recovery"] != CONTROL]
    gains = paired.assign(gain=paired["accuracy"] - paired["accuracy_control"]).groupby(GROUP, sort=False)["gain"]
    found = pd.DataFrame({"gain": gains.mean(), "gain_sd": gains.std(), "pairs": gains.count()})
    said = [paired_difference(values.dropna().tolist()) for _, values in gains]
    return found.assign(low=[each.low for each in said], high=[each.high for each in said], verdict=[each.verdict for each in said])


def times(findings: Findings) -> pd.DataFrame:
    """Return what each recovery costs, relative to training without one on the same poison and seed.

    Returns:
        dataset, model, override, recovery; ``recovering`` and ``training``, means of the two parts in units of the control's whole time;
        mean ``seconds`` of both; ``n`` pairs of cells. A recovery without a control has no row.
    """
    cells = findings.cells.assign(seconds=whole_seconds(findings.cells))
    paired = _with_control(cells[cells["seconds"].notna()])
    paired = paired[paired["seconds_control"] > 0]
    paired = paired.assign(
        recovering=paired["seconds_recovery"].fillna(0) / paired["seconds_control"],
        training=paired["seconds_training"] / paired["seconds_control"],
    )
    table = paired.groupby([*PANEL, "recovery"], sort=False).agg(
        recovering=("recovering", "mean"), training=("training", "mean"), seconds=("seconds", "mean"), n=("seconds", "count")
    )
    return table.reset_index().sort_values("recovery", key=lambda names: names != CONTROL, kind="stable", ignore_index=True)


def curves(dfr: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy against epoch of each network's own head and of its new ones.

    Returns:
        dataset, model, override, poison, ``head`` (``OWN_HEAD``, or estimator and number of clean samples), epoch, and ``n``, ``mean`` and
        ``sd`` over seeds.
    """
    own = dfr.drop_duplicates([*NETWORK, "seed", "epoch"])
    own = own.assign(head=OWN_HEAD, accuracy=own["plain_accuracy"])
    new = dfr.assign(head=[f"{row.estimator}, {row.clean_samples:,}" for row in records(dfr)], accuracy=dfr["test_accuracy"])
    found = pd.concat([own, new]).groupby([*NETWORK, "head", "epoch"], sort=False)["accuracy"]
    return found.agg(n="count", mean="mean", sd="std").reset_index()


def heads(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each head of ``curves``: ``control`` on the untrained network, and ``n``, ``mean`` and ``sd`` at the last epoch."""
    key = [*NETWORK, "head"]
    rows = table.sort_values("epoch", kind="stable")
    last = rows.groupby(key, sort=False).tail(1).set_index(key)
    control = rows[rows["epoch"] == 0].set_index(key)["mean"].rename("control")
    order = table[key].drop_duplicates()
    return order.merge(last.join(control).reset_index(), on=key)


def bounds(learnability: pd.DataFrame) -> pd.DataFrame:
    """Return certified learnability over seeds.

    Returns:
        dataset, model, override, poison, ``deviation``, ``quantile``, ``radius``, and ``n``, ``mean`` and ``sd`` of the bound, and mean
        ``plain`` accuracy without noise.
    """
    found = learnability.groupby([*NETWORK, "deviation", "quantile", "radius"], sort=False)
    table = found.agg(n=("bound", "count"), mean=("bound", "mean"), sd=("bound", "std"), plain=("plain_accuracy", "mean"))
    return table.reset_index()


def fits(separability: pd.DataFrame) -> pd.DataFrame:
    """Return mean ``train_accuracy`` and ``held_out_accuracy`` by dataset, override, ``subject`` (a poison, or ``CLEAN``) and ``fit``."""
    clean = separability["subject"] == "clean"
    named = separability.assign(subject=separability["poison"].mask(clean, CLEAN))
    named = named.sort_values("subject", key=lambda names: names != CLEAN, kind="stable")
    return named.groupby([*PROBED, "subject", "fit"], sort=False)[["train_accuracy", "held_out_accuracy"]].mean().reset_index()
