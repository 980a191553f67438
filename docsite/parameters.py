"""The page of all parameters: defaults and comments from ``conf/base``, types and ranges from the signatures."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import yaml

from docsite import CONF, code, table
from unlearnable.config.recipe import RELEASED
from unlearnable.config.settings import GIVEN_BY_THE_RUN
from unlearnable.models import MODELS
from unlearnable.models.any_timm import PREFIX
from unlearnable.poisons import POISONS
from unlearnable.probes import ReweightingRecipe, SeparabilityRecipe
from unlearnable.ranges import Range
from unlearnable.recoveries import RECOVERIES
from unlearnable.training import TrainingRecipe

NAMES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", type(None): "`null`"}
LIMITS = {"gt": "above {:g}", "ge": "at least {:g}", "lt": "below {:g}", "le": "at most {:g}"}
NAMED = {"poison": [*POISONS, RELEASED], "recovery": RECOVERIES, "audit.recovery": RECOVERIES, "model": [*MODELS, f"{PREFIX}NAME"]}
BY_NETWORK = "by_model"
INTRODUCTION = """# Parameters

Set any of these with `kedro run --params=NAME=VALUE,NAME=VALUE`, or in `conf/ENV/parameters.yml`. Defaults are those of `conf/base`;
an environment may set others. A wrong name or value ends the command with one line before anything runs.

Give a list as `--params=probe.clean_samples=[500,1000]`. Quote a value that has a comma: `--params='data_root="/a,b"'`.
"""


@dataclass(frozen=True)
class Setting:
    """A parameter of a run.

    Args:
        default: as YAML writes it, or empty where it has none.
        takes: what may be given, in words; empty where the code says nothing.
        meaning: the comment beside it.
    """

    default: str = ""
    takes: str = ""
    meaning: str = ""


def parameters_page() -> str:
    """Return the page: a section for each file of ``conf/base``, and one for each poison and recovery with settings."""
    takes = dict(_signatures()) | {name: Setting(takes=_one_of(known)) for name, known in NAMED.items()}
    text = INTRODUCTION
    for file in sorted((CONF / "base").glob("parameters*.yml"), key=lambda path: path.stem):
        text += _section(file, takes)
    return text


def _section(file: Path, takes: dict[str, Setting]) -> str:
    source = file.read_text()
    found = dict(_leaves(cast("yaml.Node", yaml.compose(source)), (), source.splitlines()))
    stage = next(iter(found)).partition(".")[0]  # craft, train, … ; of the file without a stage, its first parameter
    known = {name: replace(setting, takes=takes.get(name, Setting()).takes) for name, setting in found.items()}
    known |= {name: setting for name, setting in takes.items() if name not in found and name.startswith(f"{stage}.")}
    text = f"\n## {file.stem.partition('_')[2].capitalize() or 'The cell and the machine'}\n\n{_header(source)}\n\n"
    for block, rows in _grouped(known).items():
        text += f"\n### {block}\n\n" if block else ""
        text += table(["parameter", "default", "takes", "meaning"], rows)
    return text


def _grouped(settings: dict[str, Setting]) -> dict[str, list[list[str]]]:
    """Return rows by block: `craft.lsp` and `recover.jpeg` are blocks, other stages are one."""
    groups: dict[str, list[list[str]]] = {}
    for name, setting in settings.items():
        parts = name.split(".")
        block = f"`{parts[0]}.{parts[1]}`" if parts[0] in ("craft", "recover") and len(parts) > 2 else ""
        groups.setdefault(block, []).append([code(name), code(setting.default), setting.takes, setting.meaning])
    return groups


def _header(source: str) -> str:
    """Return the comment that a file starts with."""
    lines = [line[1:].strip() for line in source.partition("\n\n")[0].splitlines() if line.startswith("#")]
    return " ".join(line for line in lines if not line.startswith("kedro ")).replace("line:", "line.")


def _one_of(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _leaves(node: yaml.Node, path: tuple[str, ...], lines: list[str]) -> Iterator[tuple[str, Setting]]:
    """Yield the name of each parameter below ``node``, with its default and the comment on its line."""
    for key, value in node.value:
        inner = path if key.tag.endswith(":merge") else (*path, key.value)
        if isinstance(value, yaml.MappingNode) and value.value and BY_NETWORK not in inner:
            yield from _leaves(value, inner, lines)
        elif BY_NETWORK not in path:
            yield ".".join(inner), Setting(_written(value), meaning=lines[key.start_mark.line].partition(" # ")[2])


def _written(node: yaml.Node) -> str:
    """Return a value as it is written on one line; of what differs by network, the networks."""
    if isinstance(node, yaml.MappingNode):
        return ", ".join(key.value for key, _ in node.value) or "{}"
    return str(node.value) if isinstance(node, yaml.ScalarNode) else f"[{', '.join(str(item.value) for item in node.value)}]"


def _signatures() -> Iterator[tuple[str, Setting]]:
    """Yield the settings of every poison, recovery, training and probe, from the signatures that check them."""
    blocks: dict[str, Callable[..., Any]] = {"train": TrainingRecipe, "probe": ReweightingRecipe, "separability": SeparabilityRecipe}
    blocks |= {f"craft.{name}": poison for name, poison in POISONS.items()} | {f"recover.{name}": kind for name, kind in RECOVERIES.items()}
    for name, function in blocks.items():
        yield from _of(function, name)


def _of(function: Callable[..., Any], path: str) -> Iterator[tuple[str, Setting]]:
    for name, given in inspect.signature(function).parameters.items():
        if given.kind is not given.KEYWORD_ONLY or name in GIVEN_BY_THE_RUN:
            continue
        if is_dataclass(given.annotation):
            yield from _of(given.annotation, f"{path}.{name}")  # type: ignore[arg-type]
        else:
            default = "" if given.default is given.empty else _plain(given.default)
            yield f"{path}.{name}", Setting(default, in_words(given.annotation))


def _plain(value: object) -> str:
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if value is None or isinstance(value, bool) else str(value)


def in_words(annotation: Any) -> str:
    """Return what a type takes, in words, such as ``whole number, at least 1``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [LIMITS[limit].format(getattr(note, limit)) for note in arguments[1:] for limit in LIMITS if _limited(note, limit)]
        return ", ".join([in_words(arguments[0]), *limits])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of: {in_words(arguments[0])}"
    if origin in (Union, UnionType):
        return ", or ".join(in_words(choice) for choice in arguments)
    return NAMES[annotation]


def _limited(note: object, limit: str) -> bool:
    return isinstance(note, Range) and getattr(note, limit) is not None
