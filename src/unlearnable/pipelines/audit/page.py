"""The page of an audit: one HTML file that asks nothing of any other."""

import io
from typing import Any

from matplotlib.figure import Figure

from unlearnable import __version__
from unlearnable.pages import base64_text, environment

TEMPLATE = "audit.html.j2"
DPI = 120
ORIGINALS, PROTECTED = "#4477aa", "#cc6677"  # told apart by colour-blind readers too


def page(scores: dict[str, Any], examples: bytes) -> str:
    """Return the page of an audit's scores, with a picture (PNG) of examples."""
    audit = scores["audit"]
    pictures = {
        "learned": (_picture(_learned(audit)), "Accuracy of each way to learn from the protected images, beside the originals"),
        "examples": (base64_text(examples), "One image of each class: original, protected, difference, recovered"),
    }
    return environment("pipelines/audit").get_template(TEMPLATE).render(cell=scores, audit=audit, pictures=pictures, version=__version__)


def _learned(audit: dict[str, Any]) -> Figure:
    """Return a bar for each way to learn, with its interval, between chance and the originals."""
    bars = [(name, way["accuracy"], way["interval"], PROTECTED) for name, way in audit["ways"].items()]
    if audit["originals"] is not None:
        bars.insert(0, ("originals", audit["originals"]["accuracy"], audit["originals"]["interval"], ORIGINALS))
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for place, (name, accuracy, (low, high), colour) in enumerate(reversed(bars)):
        axes.barh(place, accuracy, color=colour, height=0.65)
        axes.hlines(place, low, high, color="black", linewidth=1.2)
        axes.text(high + 0.015, place, f"{accuracy:.1%}", va="center", fontsize=9)
        axes.text(-0.015, place, name.replace("_", " "), ha="right", va="center", fontsize=9)
    axes.axvline(audit["chance"], color="grey", linestyle="--", linewidth=1)
    axes.text(audit["chance"], len(bars) - 0.45, "chance", color="grey", fontsize=8, ha="center", va="bottom")
    axes.set(xlim=(0, 1.1), yticks=[], xlabel="accuracy on the test images (line: 95 % interval)")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _picture(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return base64_text(buffer.getvalue())
