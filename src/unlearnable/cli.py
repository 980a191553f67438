"""Kedro's commands, of which ``run`` says in one line what was wrong with its input."""

import copy
import functools
import inspect
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro import runner as runners
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import env_option
from kedro.framework.project import pipelines as registered
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.runner import AbstractRunner
from kedro.utils import load_obj
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from unlearnable.errors import InputError
from unlearnable.of_timm import TIMM
from unlearnable.register import nearest, unknown

if TYPE_CHECKING:
    from unlearnable.tracking.server import Server

WRONG_INPUT = (InputError, DatasetError, MissingConfigException, OmegaConfBaseException, YAMLError, OSError)
AT_LEAST_ONE = click.IntRange(min=1)
PARAMETER = re.compile(r"""(?:=\s*"[^"]*"|=\s*'[^']*'|\[[^\]]*\]|[^,])+""")  # up to a comma, but not one in quotes or of a list
WHOLE = re.compile(r"""=\s*["'\[]""")  # what Kedro would split at its commas
SAME_COMMAND = "run the same command again to resume"
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # what torch says on a GPU, and on a CPU


@contextmanager
def _one_line() -> Iterator[None]:
    """End the command with one line if its input is wrong."""
    try:
        yield
    except WRONG_INPUT as error:
        raise click.ClickException(" ".join(str(_first(error)).split())) from error


@contextmanager
def _told(how_to_resume: str) -> Iterator[None]:
    """End the command with one line if its input is wrong or it is interrupted."""
    try:
        with _one_line():
            yield
    except KeyboardInterrupt as error:
        click.echo(f"Interrupted: finished results are kept; {how_to_resume}", err=True)
        raise SystemExit(getattr(error, "exit_code", 128 + signal.SIGINT)) from error


def _in_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """End ``command`` with one line if its input is wrong; any other error keeps its traceback."""

    @functools.wraps(command)
    def run(*, pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
        if pipeline and not pipelines:  # --pipeline is a name we promise; Kedro's own warns that it prefers --pipelines
            pipelines, pipeline = [pipeline], None
        try:
            with _told(SAME_COMMAND if options["only_missing_outputs"] else "add --only-missing-outputs to resume"):
                for name in pipelines:
                    _require_known("pipeline", name, list(registered))
                _require_selection(pipelines, options)
                _require_runner(options["runner"], options["runner_params"])
                return command(pipeline=pipeline, pipelines=pipelines, **options)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
                needed = "out of memory: lower train.batch_size or ingest.train_size"
                raise click.ClickException(f"{needed} ({' '.join(str(error).split())[:200]})") from error
            raise

    return run


def _require_known(kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise unknown(kind, name, known)


def _require_selection(pipelines: list[str], options: dict[str, Any]) -> None:
    """Raise InputError if an option names a node, dataset, tag or namespace that the pipelines lack, or if the options leave no node."""
    chosen = sum((registered[name] for name in pipelines or ["__default__"]), Pipeline([]))
    nodes = sorted(node.name for node in chosen.nodes)
    datasets = sorted(chosen.datasets())
    spaces = sorted({space for node in chosen.nodes for space in node.namespace_prefixes if space})
    tags = sorted({tag for node in chosen.nodes for tag in node.tags})
    known = {"tags": ("tag", tags), "from_nodes": ("node", nodes), "to_nodes": ("node", nodes), "node_names": ("node", nodes)}
    known |= {"from_inputs": ("dataset", datasets), "to_outputs": ("dataset", datasets)}
    known |= {"load_versions": ("dataset", datasets), "namespaces": ("namespace", spaces)}
    for option, (kind, names) in known.items():
        for name in options[option] or ():
            _require_known(kind, name, names)
    given = {option: options[option] for option in known if option not in ("namespaces", "load_versions")}
    try:
        chosen.filter(**given, node_namespaces=options["namespaces"])
    except ValueError as error:
        asked = ", ".join(f"{option} {','.join(options[option])}" for option in known if options[option])
        raise InputError(f"expected nodes that match all of the options ({asked}), got none") from error


def _require_runner(name: str | None, parameters: dict[str, Any]) -> None:
    """Raise InputError if there is no such runner, or it does not know a parameter."""
    known = [each for each, thing in vars(runners).items() if inspect.isclass(thing) and issubclass(thing, AbstractRunner)]
    known.remove(AbstractRunner.__name__)
    try:
        kind = load_obj(name or "SequentialRunner", runners.__name__)
    except (ImportError, AttributeError, ValueError):
        kind = None
    if not inspect.isclass(kind) or not issubclass(kind, AbstractRunner) or inspect.isabstract(kind):
        raise InputError(f"unknown runner '{name}'; known: {', '.join(known)}{nearest(str(name).rpartition('.')[2], known)}")
    for parameter in parameters:
        _require_known(f"parameter of {kind.__name__}", parameter, list(inspect.signature(kind).parameters))


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
    """Let ``--params`` take lists and quotes (``a=[1,2],b="x,y"``), and end with one line if it cannot be read."""

    @functools.wraps(parse)
    def read(context: click.Context, option: click.Parameter, text: Any) -> Any:
        if not isinstance(text, str):
            return parse(context, option, text)
        items = PARAMETER.findall(text)
        whole = [item.strip() for item in items if WHOLE.search(item)]
        try:
            others = parse(context, option, ",".join(item for item in items if not WHOLE.search(item)))
            return OmegaConf.to_container(OmegaConf.merge(others, OmegaConf.from_dotlist(whole)))
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
run.epilog = """\b
Examples:
  kedro run --pipeline=orthoproj
  kedro run --pipeline=orthoproj --env=cifar10_small --params=poison=ops,seed=1
  kedro run --pipeline=recover --params=poison=lsp,recovery=jpeg,train.epochs=5 --only-missing-outputs
  kedro run --pipeline=audit --env=folder --params=data_root=/pictures
"""
cli.add_command(run)


FOLDER = click.Path(path_type=Path)
OF_RUN = {option.name: option for option in run.params}
OF_FOLDERS = (
    click.option("--env", "-e", default="folder", show_default=True, help="Environment, which says how images are seen."),
    click.option("--conf-source", help="Path of a directory where project configuration is stored."),
    click.option("--params", default="", callback=OF_RUN["params"].callback, help="More parameters: NAME=VALUE,NAME=VALUE."),
    click.pass_context,
)


def _on_folders(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command two folders, the originals and, as ``required``, their copies, and the options of ``run`` that concern them."""
    adding = (click.argument("originals", type=FOLDER), click.argument("protected", type=FOLDER, required=required), *OF_FOLDERS)

    def give(command: Callable[..., None]) -> Callable[..., None]:
        for add in reversed(adding):
            command = add(command)
        return command

    return give


def _run_on(context: click.Context, pipeline: str, folders: dict[str, Path], given: dict[str, Any], **options: Any) -> None:
    """Run a pipeline on two folders, where its outputs are missing; what is given beside them goes before ``--params``."""
    places = {name: str(folder.absolute()) for name, folder in folders.items()}
    parameters = OmegaConf.to_container(OmegaConf.merge(options.pop("params") or {}, given, places))
    context.invoke(run, pipeline=pipeline, params=parameters, only_missing_outputs=True, **options)


@cli.command()
@_on_folders(required=True)
@click.option("--poison", required=True, help="Name of the poison; kedro poisons list prints them.")
@click.option("--format", "kind", type=click.Choice(["png", "webp"]), help="Format of the copies, without loss.  [default: png]")
@click.option("--seed", type=int, help="Seed of the poison.  [default: 0]")
def protect(
    context: click.Context, originals: Path, protected: Path, poison: str, kind: str | None, seed: int | None, **options: Any
) -> None:
    """Write a protected copy of each image of a folder, which has a folder for each class, into another folder."""
    given = {"poison": poison} | ({"protect": {"format": kind}} if kind else {}) | ({} if seed is None else {"seed": seed})
    _run_on(context, "protect", {"originals": originals, "protected": protected}, given, **options)


@cli.command()
@_on_folders(required=False)
@click.option("--seeds", type=AT_LEAST_ONE, help="Number of trainings of each kind; 3 or more say how much the seed moves.  [default: 1]")
@click.option("--weights", help="Weights of a pretrained network, whose fine-tuning is a further way to learn: a file, or timm.")
def audit(context: click.Context, originals: Path, protected: Path | None, seeds: int | None, weights: str | None, **options: Any) -> None:
    """Say what a network learns from protected copies anyway, and whether they look protected, on one page.

    Without the originals, give the folder of the copies alone.
    """
    file = weights if weights in (None, TIMM) else str(Path(weights).absolute())
    given = ({"seeds": seeds} if seeds else {}) | ({"train": {"weights": file}} if file else {})
    _run_on(context, "audit", {"originals": originals, "protected": protected or originals}, {"audit": given}, **options)


def _methods(kind: str) -> click.Group:
    """Return the commands that say what there is of ``poisons``, ``recoveries`` or ``models``."""

    @click.group(kind, help=f"{kind.capitalize()} and what each is.")
    def group() -> None: ...

    @group.command("list", help=f"Print the names of all {kind}, with what each does.")
    @_one_line()
    def list_all() -> None:
        from unlearnable.methods import listed

        for line in listed(kind):
            click.echo(line)

    @group.command(help="Print what one does, its source, its needs and its settings.")
    @click.argument("name")
    @_one_line()
    def describe(name: str) -> None:
        from unlearnable.methods import described

        for line in described(kind, name):
            click.echo(line)

    return group


for kind in ("poisons", "recoveries", "models"):
    cli.add_command(_methods(kind))


@cli.group()
def runs() -> None:
    """Runs and their states."""


@runs.command()
@env_option
def reap(env: str | None) -> None:
    """Mark runs that were killed as KILLED."""
    from unlearnable.tracking import record

    folder, server = _tracked(env)
    closed = [path for path in record.records(folder) if record.reap(path)]
    for path in closed:
        click.echo(f"{record.name_of(path)}: KILLED")
    if not closed:
        click.echo("nothing to close")
    if server:
        _send(folder, server)


@cli.group()
def tracking() -> None:
    """Records of runs, and sending them to MLflow."""


@tracking.command()
@env_option
def replay(env: str | None) -> None:
    """Send MLflow everything that it lacks."""
    folder, server = _tracked(env)
    if server is None:
        raise click.ClickException("mlflow.yml: 'tracking_uri': expected a server to send records to, got none")
    sent = _send(folder, server)
    for line in sent or ["nothing is missing"]:
        click.echo(line)


@cli.group(
    epilog="""\b
Examples:
  kedro study list
  kedro study run recoveries --env=cifar10_small --dry-run
  kedro study run recoveries --env=cifar10_small --processes=2
  kedro study report recoveries --env=cifar10_small
"""
)
def study() -> None:
    """Grids of cells, from conf/ENV/study/NAME.yml."""


@study.command("list")
@env_option
@_told(SAME_COMMAND)
def list_studies(env: str | None) -> None:
    """Print the studies of an environment, or of all, with what they ask."""
    from unlearnable.study import commands

    commands.list_studies(env)


@study.command("run")
@click.argument("name")
@env_option
@click.option("--dry-run", is_flag=True, help="Print the cells, and how long the rest may take once some are made; run nothing.")
@click.option(
    "--executor",
    type=click.Choice(["processes", "dask"]),
    default="processes",
    show_default=True,
    help="Executor: processes of this machine, or Dask.",
)
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="Address of a Dask cluster; without it, dask starts one on this machine.")
@click.option("--processes", "count", type=AT_LEAST_ONE, show_default="two a GPU, or one a core", help="Number of runs at a time here.")
@click.option("--threads", type=AT_LEAST_ONE, show_default="cores divided by runs", help="Number of threads of each run.")
@click.option("--tries", type=AT_LEAST_ONE, default=3, show_default=True, help="How many times to start a run that is killed.")
@_told(SAME_COMMAND)
def run_study(dry_run: bool, tries: int, **options: Any) -> None:
    """Run the cells that a study lacks. Finished cells are kept."""
    from unlearnable.study import commands

    if dry_run:
        commands.dry_run(**options)
    elif commands.run(tries=tries, **options):
        raise SystemExit(1)


@study.command("status")
@click.argument("name")
@env_option
@_told(SAME_COMMAND)
def study_status(**options: Any) -> None:
    """Print how many cells are done, running, failed and waiting."""
    from unlearnable.study import commands

    commands.status(**options)


@study.command("report")
@click.argument("name")
@env_option
@_told(SAME_COMMAND)
def study_report(**options: Any) -> None:
    """Write the results of a study: a page, a table and figures."""
    from unlearnable.study import commands

    commands.report(**options)


def _tracked(env: str | None) -> "tuple[Path, Server | None]":
    """Return the folder of this project's records, and the server that an environment names, if it names one."""
    from kedro.framework.session import KedroSession

    from unlearnable.tracking import TrackingSettings
    from unlearnable.tracking.server import Server

    with _one_line(), KedroSession.create(env=env) as session:
        context = cast("KedroSession", session).load_context()
        settings = TrackingSettings.of(context.config_loader["mlflow"], context.project_path)
    return Path(settings.records), Server.of(settings, context.project_path)


def _send(folder: Path, server: "Server") -> list[str]:
    """Send what is missing, with a bar; return a line for each record."""
    import rich
    from rich.progress import track

    from unlearnable.tracking.delivery import send, to_send
    from unlearnable.tracking.feeder import unsent
    from unlearnable.tracking.record import name_of
    from unlearnable.tracking.server import reason

    lines = []
    console = rich.get_console()
    for path in track(to_send(folder), "sending", console=console, transient=True, disable=not console.is_terminal):
        missing = unsent(path)
        try:
            was_free = send(path, server)
        except Exception as error:
            raise click.ClickException(f"MLflow at {server}: {reason(error)}; {server.replay} the rest") from error
        lines.append(f"{name_of(path)}: {f'{missing} events sent' if was_free else 'is being sent by another process'}")
    return lines
