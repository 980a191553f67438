"""The poisons, recoveries and networks in words: what each one does, its source, what it needs, and its settings with their ranges."""

from collections.abc import Iterator
from typing import Any

from unlearnable.config.settings import left_out, settings
from unlearnable.of_timm import PREFIX
from unlearnable.plugins import identity
from unlearnable.register import unknown
from unlearnable.signatures import Description, defaults_of

ONE = {"poisons": "poison", "recoveries": "recovery", "models": "model"}
BLOCKS = {"poisons": "craft", "recoveries": "recover"}  # where the parameters hold their settings
OURS = "unlearnable"
NAMES = {"int": "whole number", "float": "number", "bool": "`true` or `false`", "str": "text", "none": "`null`"}
LIMITS = {"gt": "above {:g}", "ge": "at least {:g}", "lt": "below {:g}", "le": "at most {:g}"}


def listed(kind: str) -> Iterator[str]:
    """Yield a line for each of ``poisons``, ``recoveries`` or ``models``, and one for each plug-in that is left out."""
    known = settings()
    found = {name: about["does"] + _brought(known, name) for name, about in sorted(known["about"][kind].items())}
    if kind == "models":
        found[f"{PREFIX}NAME"] = "Any network of timm; train.weights=timm starts from the weights that it publishes."
    width = max(map(len, found))
    yield from (f"{name:{width}}  {does}" for name, does in found.items())
    yield from left_out()


def described(kind: str, name: str) -> Iterator[str]:
    """Yield the lines that describe one method.

    Raises:
        InputError: the name is unknown; the message lists the known names.
    """
    known = settings()
    if name not in known["about"][kind]:
        raise unknown(ONE[kind], name, list(known["about"][kind]), known["broken"][kind])
    about = known["about"][kind][name]
    yield f"{name}: {about['does']}"
    package = known["packages"][name]
    facts = {"source": about["source"], "needs": about["needs"]}
    if kind == "poisons":
        facts["copies of any size"] = "made for each" if name in known["made_at_any_size"] else "made at one size and resized"
    facts["package"] = "" if package == OURS else f"{package} {identity(package)}"
    yield from (f"{fact}: {words}" for fact, words in facts.items() if words)
    if kind in BLOCKS:
        yield from _settings(f"{BLOCKS[kind]}.{name}", known[kind][name])


def _brought(known: dict[str, Any], name: str) -> str:
    package = known["packages"][name]
    return "" if package == OURS else f" [{package}]"


def _settings(block: str, kind: Description) -> Iterator[str]:
    rows = [(name, in_words(each), default) for name, each, default in flat(kind, block, defaults_of(kind))]
    yield f"settings{'' if rows else ': none'}"
    width = max((len(name) for name, _, _ in rows), default=0)
    yield from (f"  {name:{width}}  {default or 'required'}  ({takes})" for name, takes, default in rows)


def flat(block: Description, path: str, defaults: dict[str, Any]) -> Iterator[tuple[str, Description, str]]:
    """Yield the full name, the type and the default of each setting of a block. A default is written as in YAML; a missing one is empty."""
    for name, kind in block["fields"].items():
        if kind["is"] == "block":
            yield from flat(kind, f"{path}.{name}", defaults.get(name, defaults_of(kind)))
        else:
            yield f"{path}.{name}", kind, written(defaults[name]) if name in defaults else ""


def written(value: object) -> str:
    """Return a value as YAML writes it on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if value is None or isinstance(value, bool) else str(value)


def in_words(kind: Description) -> str:
    """Return in words which values a type allows, such as ``whole number, at least 1``."""
    return ", ".join([_type(kind), *(words.format(kind[limit]) for limit, words in LIMITS.items() if limit in kind)])


def _type(kind: Description) -> str:
    if kind["is"] == "one of":
        return " or ".join(f"`{value}`" for value in kind["values"])
    if kind["is"] == "list":
        return f"list of: {in_words(kind['of'])}"
    if kind["is"] == "any of":
        return ", or ".join(map(in_words, kind["types"]))
    return NAMES[kind["is"]]
