"""Recipes of many cells: the values they share, and those by which each differs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

Flat = dict[str, str]  # dotted name -> value as JSON text
ABSENT = "absent"  # not valid JSON, so it cannot be a value
UNREAD = "text"


def flat(text: Any) -> Flat:
    """Return the values of a JSON object by dotted name, each as JSON text; other content is stored under ``UNREAD``."""
    if not isinstance(text, str) or not text:
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = text
    return dict(_flattened(found if isinstance(found, dict) else {UNREAD: found}))


def _flattened(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flattened(inner, f"{before}{name}.")
        else:
            yield before + name, json.dumps(inner, ensure_ascii=False)


def common(recipes: Sequence[Flat]) -> Flat:
    """Return the most common value of each name, the first of equals; a name that most recipes lack is left out."""
    names = sorted({name for recipe in recipes for name in recipe})
    usual = {name: Counter(recipe.get(name, ABSENT) for recipe in recipes).most_common(1)[0][0] for name in names}
    return {name: value for name, value in usual.items() if value != ABSENT}


def difference(recipe: Flat, usual: Flat) -> Flat:
    """Return what ``recipe`` has otherwise than ``usual``, by name; what it lacks is ``ABSENT``."""
    names = sorted({*recipe, *usual})
    return {name: recipe.get(name, ABSENT) for name in names if recipe.get(name) != usual.get(name)}


def lines(values: Flat) -> str:
    """Return a line for each value."""
    return "\n".join(f"{name}: {value}" for name, value in values.items())
