"""Kedro's commands, of which ``run`` says in one line what was wrong with its input."""

import copy
import functools
import signal
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

WRONG_INPUT = (InputError, DatasetError, MissingConfigException, OmegaConfBaseException, YAMLError, OSError)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # what torch says on a GPU, and on a CPU


def _in_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``command`` end with one line where its input was wrong; any other error keeps its traceback."""

    @functools.wraps(command)
    def run(*, pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
        if pipeline and not pipelines:  # --pipeline is a name we promise; Kedro's own warns that it prefers --pipelines
            pipelines, pipeline = [pipeline], None
        try:
            _require_pipelines(pipelines)
            return command(pipeline=pipeline, pipelines=pipelines, **options)
        except KeyboardInterrupt as error:
            click.echo("Interrupted: what was finished is kept, and with --only-missing-outputs a run goes on from there", err=True)
            raise SystemExit(getattr(error, "exit_code", 128 + signal.SIGINT)) from error
        except WRONG_INPUT as error:
            raise click.ClickException(" ".join(str(_first(error)).split())) from error
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
                needed = "expected enough memory, got none left: a smaller train.batch_size or ingest.train_size needs less"
                raise click.ClickException(f"{needed} ({' '.join(str(error).split())[:200]})") from error
            raise

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


run = copy.copy(kedro_run)
run.callback = _in_one_line(cast("Callable[..., Any]", kedro_run.callback))
cli.add_command(run)
