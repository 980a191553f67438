"""The page of the commands: what ``make help`` lists, the pipelines, and the help text of every command of ours."""

import re
from collections.abc import Iterator

import click

from docsite import ROOT, code, table
from unlearnable.cli import cli
from unlearnable.pipeline_registry import register_pipelines

WIDTH = 100  # columns of the help texts
INTRODUCTION = """# Commands

All `kedro` commands are in `.venv/bin`; `source .venv/bin/activate` puts them on the path. Run them in the folder of the project.
"""
CODES = """
## Exit codes

| code | meaning |
|---|---|
| 0 | the command has done what was asked |
| 1 | an input was wrong, or a cell of a study failed; one line says why |
| 2 | an option or an argument is not known |
| 130 | Ctrl-C; finished results are kept |
| 143 | SIGTERM; finished results are kept |
"""


def commands_page() -> str:
    """Return the page."""
    text = INTRODUCTION + "\n## make\n\n" + table(["command", "what it does"], _targets())
    text += "\n## Pipelines\n\n`kedro run --pipeline=NAME`\n\n" + table(["pipeline", "nodes", "what it writes in the end"], _pipelines())
    for path, command in _commands(cli, ("kedro",)):
        context = click.Context(command, info_name=" ".join(path), terminal_width=WIDTH, max_content_width=WIDTH)
        text += f"\n## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n"
    return text + CODES


def _targets() -> list[list[str]]:
    found = re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [[code(f"make {name}"), about] for name, about in found]


def _pipelines() -> list[list[str]]:
    found = register_pipelines().items()
    return [[code(name), str(len(pipeline.nodes)), ", ".join(map(code, sorted(pipeline.outputs())))] for name, pipeline in found]


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a group, and a command itself."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from _commands(inner, (*path, name))
