"""The hardware and versions that trainings were made on, and how they differ within a study."""

import json
from collections import Counter

from unlearnable.reporting.findings import Findings

FACTS = {"device": "kind of device", "name": "device", "precision": "precision", "torch": "version of torch", "flags": "flags of the GPU"}
NONE = "none"
SHORT = ("device", "precision")
NETWORK = ["dataset", "poison", "override", "model", "seed"]  # what identifies a probed network; it may have several heads


def facts(text: str) -> dict[str, str]:
    """Return each fact about the trainings of a cell; an empty result if nothing was recorded."""
    trainings = [found for found in json.loads(text or "{}").values() if found]
    names = {name for found in trainings for name in found}
    return {name: " and ".join(sorted({found[name] for found in trainings if name in found})) for name in names}


def short(text: str) -> str:
    """Return the kind of device and the precision, or an empty text."""
    found = facts(text)
    return ", ".join(found[name] for name in SHORT if name in found)


def differences(findings: Findings) -> str:
    """Return a sentence on what differs between cells, with the number of cells for each value, or an empty text."""
    probed = findings.dfr.drop_duplicates(NETWORK)
    cells = [facts(text) for text in (*findings.cells["made_on"], *probed["made_on"])]
    noted = [found for found in cells if found]
    counts = {words: Counter(found.get(name, NONE) for found in noted) for name, words in FACTS.items()}
    told = [f"{words} ({_each(counter)})" for words, counter in counts.items() if len(counter) > 1]
    told += [f"not recorded ({len(cells) - len(noted)})"] if 0 < len(noted) < len(cells) else []
    return f"Cells were not all made on the same: {'; '.join(told)}." if told else ""


def _each(counter: "Counter[str]") -> str:
    return ", ".join(f"{count} {value}" for value, count in counter.most_common())
