"""The page of an audit: one HTML file that loads no other."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from unlearnable import __version__
from unlearnable.reporting.pages import base64_text, rendered
from unlearnable.reporting.rows import Entry, Table, fraction, said
from unlearnable.reporting.style import CLEAN, POISONED, alike, saved

DETECTORS = {  # the question of each detector of probes.detection
    "linear": "Can a linear model classify images that it has not seen?",
    "two_layer": "Can a network with one hidden layer?",
    "filters": "Do autoregressive filters tell the classes apart?",
    "shifted": "Can a network trained on darkened images classify unchanged ones?",
}
MEASURES = {  # of a change: name, unit, factor from the stored value to that unit, and what it means
    "linf": ("Linf", "levels of 255", 255, "the largest change of a value"),
    "l2": ("L2", "", 1, "the norm of the change, pixels in [0, 1]"),
    "psnr": ("PSNR", "dB", 1, "above 40 dB a change is hardly seen"),
    "ssim": ("SSIM", "", 1, "1 is the same image to the eye"),
}


def page(scores: dict[str, Any], examples: bytes) -> str:
    """Return the page of an audit's scores, with a picture (PNG) of examples."""
    audit = scores["audit"]
    with alike():
        learned = saved(_learned(audit), "png")
    return rendered(
        "audit.html.j2",
        cell=scores,
        audit=audit,
        facts=_facts(scores, audit),
        learned=(base64_text(learned), "Accuracy of each way to learn from the protected images, beside the originals"),
        examples=(base64_text(examples), "An image of each class: original, protected, difference, recovered"),
        ways=_ways(audit),
        changes=_changes(audit["perceptibility"]),
        changed=fraction(audit["perceptibility"]["changed"]).text,
        separability=_separability(audit["separability"]),
        detection=_detection(audit["detection"]),
        more_than_all=any((way["learned"] or 0) > 1 for way in audit["ways"].values()),
        commit=scores["versions"].get("commit"),
        version=__version__,
    )


def _facts(cell: dict[str, Any], audit: dict[str, Any]) -> dict[str, str]:
    return {
        "protected images trained on": f"{audit['perceptibility']['images']:,}",
        "test images": f"{audit['test_images']:,}",
        "chance": fraction(audit["chance"]).text,
        "network": cell["model"],
        "epochs": audit["epochs"],
        "seeds" if len(audit["seeds"]) > 1 else "seed": ", ".join(map(str, audit["seeds"])),
        "training with the first seed" if len(audit["seeds"]) > 1 else "training": f"{audit['seconds']:.0f} s",
    }


def _ways(audit: dict[str, Any]) -> Table:
    headings = ("trained on the protected images by", "accuracy", "95 % interval", "share of what the originals teach", "95 % interval")
    ways = dict(audit["ways"])
    if audit["originals"] is not None:
        ways = {"(the originals themselves)": audit["originals"] | {"learned": 1.0, "learned_interval": None}} | ways
    rows = [
        [
            said(name.replace("_", " ")),
            *(fraction(way["accuracy"]), _interval(way["interval"])),
            *(fraction(way["learned"]), _interval(way["learned_interval"])),
        ]
        for name, way in ways.items()
    ]
    return Table(name="ways", caption="Ways to learn.", headings=headings, rows=rows)


def _interval(ends: Sequence[float] | None) -> Entry:
    return fraction(None) if ends is None else Entry(text=f"{100 * ends[0]:.1f} to {ends[1]:.1%}", value=ends[0])


def _changes(seen: dict[str, Any]) -> Table:
    rows = [
        [said(title), *(_measured(factor * seen[which][name], unit) for which in ("median", "worst")), said(what)]
        for name, (title, unit, factor, what) in MEASURES.items()
        if name in seen["median"]
    ]
    return Table(name="changes", caption="Perceptibility.", headings=("change of an image", "median", "worst", "what it is"), rows=rows)


def _measured(value: float, unit: str) -> Entry:
    return Entry(text=f"{value:.3g} {unit}".strip(), value=value)


def _separability(found: dict[str, Any]) -> Table:
    rows = [
        [said(title), said(name.replace("_", " ")), fraction(fit["train_accuracy"]), fraction(fit["held_out_accuracy"]), said(fit["ended"])]
        for subject, title in (("perturbations", "the change"), ("clean", "the images"))
        for name, fit in found[subject].items()
    ]
    return Table(name="separability", caption="Separability.", headings=("of", "model", "fitted", "held out", "ended"), rows=rows)


def _detection(found: dict[str, Any]) -> Table:
    headings = ("question", "accuracy", "with shuffled labels", "score", "alarm above", "answer")
    rows = [
        [
            said(DETECTORS[name]),
            *(fraction(each[key]) for key in ("accuracy", "shuffled")),
            *(Entry(text=f"{each[key]:.2f}", value=each[key]) for key in ("score", "threshold")),
            said("protected" if each["alarm"] else "no sign"),
        ]
        for name, each in found["detectors"].items()
    ]
    return Table(name="detection", caption="Detectors.", headings=headings, rows=rows)


def _learned(audit: dict[str, Any]) -> Figure:
    """Return a bar for each way to learn, with its interval, between chance and the originals."""
    bars = [(name, way["accuracy"], way["interval"], POISONED) for name, way in audit["ways"].items()]
    if audit["originals"] is not None:
        bars.insert(0, ("originals", audit["originals"]["accuracy"], audit["originals"]["interval"], CLEAN))
    figure = Figure(figsize=(4.2, 0.8 + 0.5 * len(bars)), layout="constrained")  # no wider than a phone shows it
    axes = figure.subplots()
    for place, (name, accuracy, (low, high), colour) in enumerate(reversed(bars)):
        axes.barh(place, accuracy, color=colour, height=0.42)
        axes.hlines(place, low, high, color="black", linewidth=1.2)
        axes.text(max(high, accuracy) + 0.015, place, f"{accuracy:.1%}", va="center")
        axes.text(0, place + 0.25, name.replace("_", " "), va="bottom", bbox={"pad": 0.5, "color": "white"})
    axes.axvline(audit["chance"], color="black", linestyle="--", linewidth=1, zorder=0)
    axes.set(xlim=(0, 1.18), ylim=(-0.4, len(bars) - 0.2), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("accuracy on the test images\n(line: 95 % interval; dashes: chance)")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
