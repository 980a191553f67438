"""Kedro's commands, of which ``run`` says in one line what was wrong with its input."""

import copy
import functools
from collections.abc import Callable
from typing import Any, cast

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines as registered
from kedro.io import DatasetError
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from unlearnable.errors import InputError
from unlearnable.register import nearest

WRONG_INPUT = (InputError, DatasetError, MissingConfigException, OmegaConfBaseException, YAMLError)


def _in_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``command`` end with one line where its input was wrong; any other error keeps its traceback."""

    @functools.wraps(command)
    def run(*, pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
        if pipeline and not pipelines:  # --pipeline is a name we promise; Kedro's own warns that it prefers --pipelines
            pipelines, pipeline = [pipeline], None
        try:
            _require_pipelines(pipelines)
            return command(pipeline=pipeline, pipelines=pipelines, **options)
        except WRONG_INPUT as error:
            raise click.ClickException(" ".join(str(_first(error)).split())) from error

    return run


def _require_pipelines(names: list[str]) -> None:
    known = list(registered)
    for name in names:
        if name not in known:
            raise InputError(f"unknown pipeline '{name}'; known: {', '.join(known)}{nearest(name, known)}")


def _first(error: BaseException) -> BaseException:
    """Return the InputError that ``error`` was raised from, or the error itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__
    return cause or error


@click.group()
def cli() -> None:
    """Commands of this project."""


def _params(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Let the reading of ``--params``, which comes before the command, end with one line too."""

    @functools.wraps(parse)
    def read(context: click.Context, option: click.Parameter, text: Any) -> Any:
        try:
            return parse(context, option, text)
        except click.ClickException:
            raise
        except Exception as error:  # OmegaConf parses it, and raises what YAML, its grammar and its own code do
            reason = " ".join(str(error).split())
            raise click.BadParameter(f"expected NAME=VALUE, separated by commas, got {text!r} ({reason})") from error

    return read


run = copy.copy(kedro_run)
run.params = [copy.copy(option) for option in kedro_run.params]
for option in run.params:
    if option.name == "params":
        option.callback = _params(cast("Callable[..., Any]", option.callback))
run.callback = _in_one_line(cast("Callable[..., Any]", kedro_run.callback))
cli.add_command(run)
