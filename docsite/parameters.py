"""The page of all parameters: values and comments from ``conf/base``; defaults in Python, types and ranges from the signatures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import yaml

from docsite import CONF, code, table
from unlearnable.config.recipe import RELEASED
from unlearnable.config.settings import settings
from unlearnable.methods import flat, in_words
from unlearnable.of_timm import PREFIX
from unlearnable.signatures import defaults_of

BY_NETWORK = "by_model"
INTRODUCTION = """# Parameters

Set any of these with `kedro run --params=NAME=VALUE,NAME=VALUE`, or in `conf/ENV/parameters.yml`. A wrong name or value ends the command
with one line before anything runs.

The default is the one of `conf/base`; an environment may set another. The default in Python is the one of the signature, and is the
published value if there is one. It holds where no configuration gives a value, and for `import unlearnable`.

Give a list as `--params=probe.clean_samples=[500,1000]`. Quote a value that has a comma: `--params='data_root="/a,b"'`.
"""


@dataclass(frozen=True)
class Setting:
    """A parameter of a run.

    Args:
        default: as YAML writes it, or empty where it has none.
        in_python: the default in the signature, in the same form.
        takes: what may be given, in words; empty where the code says nothing.
        meaning: the comment beside it.
    """

    default: str = ""
    in_python: str = ""
    takes: str = ""
    meaning: str = ""


def parameters_page() -> str:
    """Return the page: a section for each file of ``conf/base``, and one for each poison and recovery with settings."""
    stated = dict(_signatures()) | {name: Setting(takes=_one_of(known)) for name, known in _named().items()}
    text = INTRODUCTION
    for file in sorted((CONF / "base").glob("parameters*.yml"), key=lambda path: path.stem):
        text += _section(file, stated)
    return text


def _section(file: Path, stated: dict[str, Setting]) -> str:
    source = file.read_text()
    found = dict(_leaves(cast("yaml.Node", yaml.compose(source)), (), source.splitlines()))
    stage = next(iter(found)).partition(".")[0]  # craft, train, … ; of the file without a stage, its first parameter
    known = {name: _joined(stated.get(name, Setting()), setting) for name, setting in found.items()}
    known |= {name: setting for name, setting in stated.items() if name not in found and name.startswith(f"{stage}.")}
    text = f"\n## {file.stem.partition('_')[2].capitalize() or 'The cell and the machine'}\n\n{_header(source)}\n\n"
    for block, rows in _grouped(known).items():
        text += f"\n### {block}\n\n" if block else ""
        text += table(["parameter", "default", "default in Python", "takes", "meaning"], rows)
    return text


def _joined(stated: Setting, written: Setting) -> Setting:
    """Return what the signature states of a setting, with what is written of it in ``conf/base``."""
    return replace(stated, default=written.default, meaning=written.meaning)


def _grouped(settings: dict[str, Setting]) -> dict[str, list[list[str]]]:
    """Return rows by block: `craft.lsp` and `recover.jpeg` are blocks, other stages are one."""
    groups: dict[str, list[list[str]]] = {}
    for name, setting in settings.items():
        parts = name.split(".")
        block = f"`{parts[0]}.{parts[1]}`" if parts[0] in ("craft", "recover") and len(parts) > 2 else ""
        groups.setdefault(block, []).append(_row(name, setting))
    return groups


def _row(name: str, setting: Setting) -> list[str]:
    return [code(name), code(setting.default), code(setting.in_python), setting.takes, setting.meaning]


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


def _named() -> dict[str, list[str]]:
    """Return the names that may be chosen, by parameter."""
    known = settings()
    recoveries = list(known["recoveries"])
    models = [*known["models"], f"{PREFIX}NAME"]
    return {"poison": [*known["poisons"], RELEASED], "recovery": recoveries, "audit.recovery": recoveries, "model": models}


def _signatures() -> Iterator[tuple[str, Setting]]:
    """Yield the settings of every poison, recovery, training and probe, from the signatures that check them."""
    known = settings()
    blocks = {name: known[name] for name in ("train", "probe", "separability", "learnability")}
    blocks |= {f"craft.{name}": block for name, block in known["poisons"].items()}
    blocks |= {f"recover.{name}": block for name, block in known["recoveries"].items()}
    for name, block in blocks.items():
        for full, kind, default in flat(block, name, defaults_of(block)):
            yield full, Setting(default, default, in_words(kind))
