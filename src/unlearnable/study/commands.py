"""``kedro study list`` and ``kedro study run|status|report NAME``."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rich
from kedro.framework.project import settings
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from unlearnable.errors import InputError
from unlearnable.study.cards import RUNS_A_CARD, Cards, cards
from unlearnable.study.cells import Part
from unlearnable.study.definition import read_study, study_files
from unlearnable.study.estimate import estimate
from unlearnable.study.executors import Team, cores, dask, expected, processes
from unlearnable.study.journal import Journal
from unlearnable.study.parent import Parent, show
from unlearnable.study.plan import Plan, plan
from unlearnable.study.runner import work_off
from unlearnable.study.work import Assignment, Outcome
from unlearnable.tracking import TrackingSettings
from unlearnable.tracking.delivery import delivered
from unlearnable.tracking.server import Server

REPORTS = "data/08_reporting/studies"
SHOWN = ("report.html", "cells.parquet")  # in MLflow
Advance = Callable[[Part, Outcome], None]
STATES = {"done": "green", "running": "cyan", "failed": "red", "waiting": "dim"}


def run(name: str, env: str | None, executor: str, scheduler: str | None, count: int | None, threads: int | None, tries: int) -> int:
    """Run what a study lacks; return how many of its cells failed."""
    found, shift = _planned(name, env, executor, scheduler, count, threads)
    if found.storage:
        found.storage.require()
    parts = found.grid.needed(found.complete())
    console = rich.get_console()
    cells = {cell.key for cell in found.grid.cells}
    console.print(f"study {name}: {len(cells)} cells, {len(cells - parts.keys())} of them are there; {_count(len(parts), 'run')} to make")
    if not parts:
        return 0
    with dask(scheduler, shift.count) if executor == "dask" else processes(shift.count) as team:
        outcomes = list(_run(found, parts, team, scheduler, tries, shift))
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        console.print(f"[red]failed[/red] {parts[outcome.key].label}: {outcome.error}", soft_wrap=True, highlight=False)
    console.print(f"{_count(len(outcomes) - len(failed), 'run')} made, {len(failed)} failed; the page: {_command('report', found)}")
    return len(failed)


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Who is to work at a study on this machine: how many runs at a time, with how many threads each, and the cards that they share."""

    count: int
    threads: int
    cards: list[str]


def _planned(
    name: str, env: str | None, executor: str, scheduler: str | None, count: int | None, threads: int | None
) -> tuple[Plan, Shift]:
    """Return the plan of a study, and who is to work at it."""
    if scheduler is not None and executor != "dask":
        raise InputError(f"--scheduler: expected --executor=dask beside it, got {executor}")
    found = plan(name, project=Path.cwd(), env=env)
    on_cpu = {cell.parameters["device"] for cell in found.grid.cells} == {"cpu"}
    shared = [] if scheduler or on_cpu else cards()  # workers of other machines see their own
    count = count or RUNS_A_CARD * len(shared) or cores()
    return found, Shift(count=count, threads=threads or (1 if scheduler else max(1, cores() // count)), cards=shared)


def _run(found: Plan, parts: dict[str, Part], team: Team, scheduler: str | None, tries: int, shift: Shift) -> Iterator[Outcome]:
    shared = Cards(shift.cards)
    tracking = TrackingSettings.of(found.loader["mlflow"], found.project)
    journal = Journal(found.journal)
    server = Server.of(tracking, found.project)
    parent = Parent(server, tracking.experiment, found.name, found.noted().parent)
    journal.belongs_to(parent.run_id)
    # Workers of other machines start in a project of their own, and may join after the study has started.
    theirs: dict[str, Any] = {"project": None, "about": expected()} if scheduler else {"project": str(found.project)}
    delivery = None if scheduler or server is None else delivered(server, tracking)

    def assign(part: Part) -> Assignment:
        part = replace(part, parameters={"threads": shift.threads} | part.parameters)
        return Assignment(part=part, env=found.env, tags=parent.tags, card=shared.given(part.key), fed=delivery is not None, **theirs)

    status = "KILLED"
    failures = 0
    try:
        with _bar(len(parts)) as advance:
            for outcome in work_off(parts, team, assign, journal.begin, tries=tries):
                shared.back(outcome.key)
                journal.end(outcome)
                advance(parts[outcome.key], outcome)
                if delivery:
                    delivery.hear()
                failures += outcome.error is not None
                yield outcome
        status = "FAILED" if failures else "FINISHED"
    finally:
        journal.close(status)
        parent.end(status, Counter(found.states(found.complete(), found.noted()).values()))
        if delivery:
            delivery.finish()


@contextmanager
def _bar(total: int) -> Iterator[Advance]:
    """Show how much is made, and a line for each part that has ended."""
    console = rich.get_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("study", total=total)

        def advance(part: Part, outcome: Outcome) -> None:
            progress.advance(task)
            done = f"{progress.tasks[0].completed:.0f}/{total}"
            told = f"failed, {outcome.error}" if outcome.error else f"{outcome.seconds:.1f} s"
            console.print(f"{done} {part.label}: {told}", soft_wrap=True, highlight=False, markup=False)

        yield advance


def _command(verb: str, found: Plan) -> str:
    """Return a command for the same study, as it can be typed."""
    return f"kedro study {verb} {found.name}{f' --env={found.env}' if found.env else ''}"


def list_studies(env: str | None) -> None:
    """Print the studies of an environment, or of all, with what they ask."""
    table = Table("study", "environment", "what it asks")
    for folder, studies in study_files(Path.cwd() / settings.CONF_SOURCE).items():
        for name, file in studies.items() if env in (None, folder) else ():
            table.add_row(name, folder, " ".join(read_study(file).description.split()))
    rich.print(table if table.row_count else "no studies: write one in conf/ENV/study/NAME.yml")


def dry_run(name: str, env: str | None, executor: str, scheduler: str | None, count: int | None, threads: int | None) -> None:
    """Print the cells of a study, and how long it may take."""
    found, shift = _planned(name, env, executor, scheduler, count, threads)
    complete = found.complete()
    _show_cells(found, found.states(complete, found.noted()))
    parts = found.grid.needed(complete)
    rich.print(f"{_count(len(parts), 'run')} to make; {estimate(found, parts, shift.count)}")


def status(name: str, env: str | None) -> None:
    """Print how far a study is."""
    found = plan(name, project=Path.cwd(), env=env)
    complete, said = found.complete(), found.noted()
    _show_cells(found, found.states(complete, said))
    labels = {key: part.label for key, part in found.grid.parts.items()}
    for key, error in said.failed.items():
        if key in labels and key not in complete:
            rich.get_console().print(f"[red]failed[/red] {labels[key]}: {error}", soft_wrap=True, highlight=False)
    for key in said.running:
        if key in labels:
            rich.get_console().print(f"[cyan]running[/cyan] {labels[key]}", highlight=False)


def _show_cells(found: Plan, states: dict[str, str]) -> None:
    """Print the states of cells: a row for each poison, a column for each recovery, models and seeds counted together."""
    for override in found.grid.study.overrides:
        for chain in found.grid.study.chains:
            cells = [cell for cell in found.grid.cells if cell.override == override and cell.chain == chain]
            columns = list(dict.fromkeys(cell.recovery for cell in cells))
            table = Table("poison", *columns, title=" ".join(filter(None, ("study", found.name, chain, override))))
            for poison in found.grid.study.poisons:
                row = [[states[c.key] for c in cells if (c.poison, c.recovery) == (poison, recovery)] for recovery in columns]
                table.add_row(poison, *map(_counts, row))
            rich.print(table)
    totals = Counter(states.values())
    rich.print(", ".join(f"{totals[state]} {state}" for state in STATES))


def _counts(states: list[str]) -> str:
    counts = Counter(states)
    return ", ".join(f"[{colour}]{counts[state]} {state}[/{colour}]" for state, colour in STATES.items() if counts[state])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def report(name: str, env: str | None) -> None:
    """Write the page, the table and the figures of a study, and print their paths; page and table are shown in MLflow too."""
    from unlearnable.reporting.study import write
    from unlearnable.study.gather import gather

    found = plan(name, project=Path.cwd(), env=env)
    if "done" not in found.states(found.complete(), found.noted()).values():
        raise InputError(f"study {name}: expected at least one finished cell, got none; first: {_command('run', found)}")
    written = write(gather(found), found.project / REPORTS / name)
    for what, path in written.items():
        print(f"{what}: {path.relative_to(Path.cwd())}")  # plain: a wrapped path cannot be copied  # noqa: T201
    settings = TrackingSettings.of(found.loader["mlflow"], found.project)
    show(Server.of(settings, found.project), found.noted().parent, [written[file] for file in SHOWN])
