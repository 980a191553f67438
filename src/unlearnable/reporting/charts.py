"""Figures of a study: the same findings give the same bytes."""

import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from unlearnable.reporting.findings import Findings
from unlearnable.reporting.style import COLOURS, POISONED, alike, epochs, percent, saved
from unlearnable.reporting.tables import CONTROL, NETWORK, OWN_HEAD, PANEL, PROBED, curves, fits, ordered, records, summary, times

COLUMNS = 3  # panels next to each other at most
LONGEST = 28  # characters of a name at most
NARROW = 13  # characters of a line of a column heading at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure as files by kind (``svg``, ``pdf``), and a description for readers who cannot see it."""

    files: Mapping[str, bytes]
    alt: str


def draw(findings: Findings, *kinds: str, only: Collection[str] = ()) -> dict[str, Drawing]:
    """Return the figures that have data, by name: accuracy, time, dfr and separability, or ``only`` those."""
    found = {}
    with alike():
        for name in only or FIGURES:
            if (made := FIGURES[name](findings)) is not None:
                figure, alt = made
                found[name] = Drawing(files={kind: saved(figure, kind) for kind in kinds}, alt=alt)
    return found


Made = tuple[Figure, str] | None


def _accuracy(findings: Findings) -> Made:
    """Draw a heat map of poisons by recoveries for each dataset, model and set of overrides."""
    panels = list(summary(findings).groupby(PANEL, sort=False))
    if not panels:
        return None
    names = max(len(_short(name)) for _, rows in panels for name in rows["poison"])
    widest = 1.9 + 0.07 * names + 0.95 * max(rows["recovery"].nunique() for _, rows in panels)
    lines = [max(_short(name, narrow=True).count("\n") + 1 for name in rows["recovery"]) for _, rows in panels]
    heights = [rows["poison"].nunique() + 1.2 + 0.35 * count for (_, rows), count in zip(panels, lines, strict=True)]
    figure = Figure(figsize=(widest, 0.5 * sum(heights) + 0.3), layout="constrained")
    for axes, (key, rows) in zip(figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], panels, strict=True):
        _heat_map(axes, rows, f"{_title(key)} (n = {rows['n'].max()})")
    colours = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), _map())
    bar = figure.colorbar(colours, ax=figure.axes, format="{x:.0%}", label="accuracy on the clean test set", aspect=30, pad=0.02)
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")
    sizes = ", ".join(
        f"{_title(key)}: {rows['poison'].nunique()} poisons by {rows['recovery'].nunique()} recoveries" for key, rows in panels
    )
    return figure, f"Heat map of mean accuracy on the clean test set ({sizes}); its numbers are in the table below."


def _title(key: Any) -> str:
    return ", ".join(_short(str(part)) for part in key if part)


def _short(name: str, *, narrow: bool = False) -> str:
    """Return a shortened name; the tables have the full one."""
    name = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    return textwrap.fill(name.replace("_", " "), NARROW) if narrow else name


def _legend(figure: Figure, shown: dict[str, Any], title: str | None = None) -> None:
    """Put a legend above the panels, in as many columns as fit."""
    room = figure.get_figwidth() / (0.6 + 0.075 * max(map(len, shown)))  # inches: a symbol and the letters
    columns = max(1, min(len(shown), int(room)))
    figure.legend(shown.values(), shown.keys(), title=title, loc="outside upper center", ncols=columns, frameon=False, fontsize=8)


def _map() -> Colormap:
    return mpl.colormaps["viridis"].with_extremes(bad="none")  # the hatching of unfinished cells shows through


def _heat_map(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    poisons, recoveries = ordered(rows["poison"]), ordered(rows["recovery"])
    mean = rows.pivot_table(index="poison", columns="recovery", values="mean", dropna=False).loc[poisons, recoveries].to_numpy(float)
    places = (np.arange(len(names) + 1) - 0.5 for names in (recoveries, poisons))
    axes.pcolormesh(*places, np.ma.masked_invalid(mean), cmap=_map(), vmin=0, vmax=1)  # browsers would smooth an image
    axes.set_facecolor("#f4f4f4")
    axes.patch.set(hatch="////", edgecolor="#bbbbbb")
    axes.invert_yaxis()
    for row in records(rows):
        _write(axes, row, recoveries.index(row.recovery), poisons.index(row.poison), most=rows["n"].max())
    axes.set_xticks(range(len(recoveries)), [_short(name, narrow=True) for name in recoveries])
    axes.set_yticks(range(len(poisons)), [_short(name) for name in poisons])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set(xlabel="recovery", ylabel="poison")
    axes.xaxis.set_label_position("top")
    axes.spines[:].set_visible(False)
    for line, count, control in ((axes.axvline, len(recoveries), recoveries[0]), (axes.axhline, len(poisons), poisons[0])):
        for place in range(1, count):
            line(place - 0.5, color="white", linewidth=4 if place == 1 and control == CONTROL else 1)
    axes.set_title(title, fontsize=10, fontweight="bold", loc="left")


def _write(axes: Axes, row: Any, x: int, y: int, *, most: int) -> None:
    """Write mean and deviation into a cell, and the number of seeds if other cells of the panel have more."""
    if not row.n:
        return
    luminance = np.dot(np.array(_map()(row.mean)[:3]) ** 2.2, (0.2126, 0.7152, 0.0722))
    colour = "black" if luminance > 0.18 else "white"  # the one with more contrast, at least 4.5 to 1
    notes = ([f"± {100 * row.sd:.1f}"] if row.n > 1 else []) + ([f"n = {row.n}"] if row.n < most else [])
    axes.text(x, y, f"{100 * row.mean:.1f}", ha="center", va="bottom" if notes else "center", color=colour)
    axes.text(x, y, "  ".join(notes), ha="center", va="top", color=colour, fontsize=7)


def _time(findings: Findings) -> Made:
    """Draw a bar for each recovery: its own time and the training's, relative to the time without a recovery."""
    panels = list(times(findings).groupby(PANEL, sort=False))
    if not panels:
        return None
    heights = [len(rows) + 1.5 for _, rows in panels]
    figure = Figure(figsize=(8, 0.32 * sum(heights) + 0.5), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (key, rows) in zip(grid, panels, strict=True):
        _bars(axes, rows, _title(key))
    grid[-1].set_xlabel("time relative to no recovery")
    _legend(figure, {"training": Patch(color=COLOURS[1]), "recovery, before the training": Patch(color=COLOURS[2])})
    return figure, "Bars of the time that each recovery takes, relative to none; its numbers are in the table below."


def _bars(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    places = range(len(rows))
    axes.barh(places, rows["training"], color=COLOURS[1])
    bars = axes.barh(places, rows["recovering"], left=rows["training"], color=COLOURS[2])
    axes.set_yticks(places, [_short(name) for name in rows["recovery"]])
    whole = rows["training"] + rows["recovering"]
    labels = [f"{ratio:.2f} ({seconds:,.0f} s)" for ratio, seconds in zip(whole, rows["seconds"], strict=True)]
    axes.bar_label(bars, labels, padding=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.margins(x=0.18)
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=9, loc="left")


def _dfr(findings: Findings) -> Made:
    """Draw a panel for each poison and model: the accuracy of each head against the epoch, with a band of one deviation."""
    found = curves(findings.dfr).sort_values("poison", key=lambda names: names != CONTROL, kind="stable")
    panels = list(found.groupby(NETWORK, sort=False))
    if not panels:
        return None
    columns, lines = min(COLUMNS, len(panels)), -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(max(5.0, 3.2 * columns), 2.5 * lines + 0.7), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
    several = len({key[:-1] for key, _ in panels}) > 1
    colours = colours_of(found)
    for axes, (key, rows) in zip(grid, panels, strict=False):
        curves_of_heads(axes, rows, colours, _title((key[-1], *key[:-1]) if several else key[-1:]))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    shown = {name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    _legend(figure, shown, None if several else _title(panels[0][0][:-1]))
    return figure, f"Accuracy of heads against epoch, {len(panels)} panels; the numbers of the last epoch are in the table below."


def colours_of(table: pd.DataFrame) -> dict[str, str]:
    """Return a colour for each head of ``tables.curves``."""
    return {OWN_HEAD: POISONED, **dict(zip([name for name in table["head"].unique() if name != OWN_HEAD], cycle(COLOURS), strict=False))}


def curves_of_heads(axes: Axes, table: pd.DataFrame, colours: Mapping[str, str], title: str) -> None:
    """Draw the accuracy of each head of ``tables.curves`` against the epoch, with a band of one deviation and a line for its control."""
    for name, rows in table.sort_values("epoch", kind="stable").groupby("head", sort=False):
        own = name == OWN_HEAD
        shown = rows if own else rows[rows["epoch"] > 0]
        colour, spread = colours[str(name)], shown["sd"].fillna(0)
        axes.plot(
            shown["epoch"], shown["mean"], color=colour, linewidth=1.5, label=name if own else f"new head: {_short(str(name))} samples"
        )
        axes.fill_between(shown["epoch"], shown["mean"] - spread, shown["mean"] + spread, color=colour, alpha=0.25, linewidth=0)
        for control in () if own else rows.loc[rows["epoch"] == 0, "mean"]:
            axes.axhline(control, color=colour, linestyle="--", linewidth=1, label=f"untrained control: {_short(str(name))} samples")
    percent(axes, title)
    epochs(axes)


def _separability(findings: Findings) -> Made:
    """Draw a panel for each dataset: a group of bars for each poison, a bar for each fit, and a line for held-out samples."""
    panels = list(fits(findings.separability).groupby(PROBED, sort=False))
    if not panels:
        return None
    names = list(dict.fromkeys(name for _, rows in panels for name in rows["fit"]))
    widest = max(rows["subject"].nunique() for _, rows in panels)
    figure = Figure(figsize=(max(6.0, 1.2 + 0.22 * widest * (len(names) + 1)), 2.9 * len(panels) + 0.5), layout="constrained")
    for axes, (key, rows) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        _groups(axes, rows, names, f"{_title(key)}: fitted (bar) and held out (line)")
    _legend(figure, {name: bars for bars, name in zip(*figure.axes[0].get_legend_handles_labels(), strict=True)})
    return figure, "Bars of how well simple models tell classes apart from perturbations alone; its numbers are in the table below."


def _groups(axes: Axes, table: pd.DataFrame, names: Sequence[str], title: str) -> None:
    subjects, width = list(dict.fromkeys(table["subject"])), 0.85 / len(names)
    for place, (name, colour) in enumerate(zip(names, cycle(COLOURS), strict=False)):
        rows = table[table["fit"] == name].set_index("subject").reindex(subjects)
        x = np.arange(len(subjects)) + (place - (len(names) - 1) / 2) * width
        axes.bar(x, rows["train_accuracy"], width * 0.92, color=colour, label=_short(name).replace("_", " "))
        axes.hlines(rows["held_out_accuracy"], x - width * 0.46, x + width * 0.46, color="black", linewidth=1.6)
    axes.set_xticks(range(len(subjects)), [_short(name, narrow=True) for name in subjects])
    percent(axes, title)


FIGURES: dict[str, Callable[[Findings], Made]] = {"accuracy": _accuracy, "time": _time, "dfr": _dfr, "separability": _separability}
