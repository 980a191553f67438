"""What the columns of a results table are: recoveries, and under which overrides."""

import re

import pandas as pd

from unlearnable.reporting.tables import CONTROL

Columns = dict[tuple[str, str], str]  # the name of a column by recovery and override
COMMON = ["dataset", "poison", "model", "seed"]  # what cells of one column differ in
NUMBER = re.compile(r"\d[\d,.]*")
LEAST = 3  # points of a curve


def columns(cells: pd.DataFrame) -> Columns:
    """Return the name of each column: its recovery where overrides change nothing there, else the override too.

    The override stands alone where it can only be that of one recovery, which is not the control.

    Args:
        cells: the table ``cells`` of ``Findings``.
    """
    alone = set(cells["recovery"]) - {CONTROL} or {CONTROL}
    names: Columns = {}
    for recovery, found in cells.groupby("recovery", sort=False):
        groups = _alike(found)
        most = max(groups, key=len)
        for group in groups:
            plain = len(groups) == 1 or group == [""] or (group is most and len(group) > 1)
            name = str(recovery) if plain else group[0] if alone == {recovery} else f"{recovery}, {group[0]}"
            names |= {(str(recovery), override): name for override in group}
    return names


def _alike(cells: pd.DataFrame) -> list[list[str]]:
    """Return the sets of overrides in groups that have the same recipes wherever both were measured."""
    recipes = cells.pivot_table(index=COMMON, columns="override", values="recipe_hash", aggfunc="first")
    groups: list[list[str]] = []
    for override in dict.fromkeys(cells["override"]):
        for group in groups:
            both = recipes[[group[0], override]].dropna()
            if len(both) and (both[group[0]] == both[override]).all():
                group.append(override)
                break
        else:
            groups.append([override])
    return groups


def renamed(table: pd.DataFrame, names: Columns) -> pd.DataFrame:
    """Return a table of cells, of epochs or of means with the names of its columns as recoveries, and each row once."""
    keys = list(zip(table["recovery"], table["override"], strict=True))
    found = table.assign(recovery=[names.get(key, key[0]) for key in keys], override="")
    return found.drop_duplicates([name for name in (*COMMON, "recovery", "epoch") if name in found], ignore_index=True)


def curves(names: Columns) -> dict[str, dict[str, float]]:
    """Return the columns that are points of a curve, by what is counted: at least three overrides that differ in one number.

    Returns:
        for each curve, such as ``directions``, the number of each of its columns, in order.
    """
    found: dict[str, list[tuple[float, str, str]]] = {}
    for (_, override), name in names.items():
        numbers, counted = NUMBER.findall(override), NUMBER.sub("", override, count=1).strip()
        if len(numbers) == 1 and counted and name.endswith(override):
            found.setdefault(counted.removesuffix("s"), []).append((float(numbers[0].replace(",", "")), name, counted))
    longest = {max(points)[2]: sorted(points) for points in found.values() if len(points) >= LEAST}
    return {counted: {name: value for value, name, _ in points} for counted, points in longest.items()}
