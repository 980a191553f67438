"""The style of all figures: the same content gives the same bytes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

CLEAN, POISONED, RECOVERED = "#4477aa", "#cc6677", "#228833"  # colour-blind readers can tell these apart too
COLOURS = (RECOVERED, CLEAN, "#aa8833", "#aa3377", "#66aacc", "#777777")
FIXED = {"svg.hashsalt": "unlearnable", "svg.fonttype": "path", "pdf.fonttype": 42, "text.parse_math": False, "font.size": 9}
UNSAID = {"svg": ("Date", "Creator", "Format", "Type"), "pdf": ("CreationDate", "Creator", "Producer"), "png": ("Software",)}
DPI = 120  # of PNG


@contextmanager
def alike() -> Iterator[None]:
    """Draw with the same settings every time. Dollar signs in names do not start formulas."""
    usual: Any = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}
    with mpl.rc_context(usual | FIXED):
        yield


def saved(figure: Figure, kind: str) -> bytes:
    """Return the figure as a file (svg, pdf or png) without a date or the name of a program."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI if kind == "png" else "figure", metadata=dict.fromkeys(UNSAID[kind]))
    return buffer.getvalue()


def percent(axes: Axes, title: str, top: float = 1.02) -> None:
    """Set up a vertical axis of accuracies."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylim(0, top)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def epochs(axes: Axes) -> None:
    """Set up a horizontal axis of epochs."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
