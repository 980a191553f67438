"""Deliberate faults, one at a time, in a copy of the project: each must make the tests fail that its row of the table names.

    python -m tests.mutants [--project DIR] [--only WORDS] [--slowest]

All named tests are run once unchanged, and must pass. Then each fault is written, its tests are run, and the file is put back. Exits with
1 where a fault was not seen, or where a row is wrong. Libraries are imported once, here, and each run of pytest is a forked process.
"""

import importlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from tests.mutants.table import MUTANTS, Mutant

PROJECT = Path(__file__).parents[2]
COPIED = (
    *("src", "tests", "benchmarks", "conf", "docs", "docsite", "examples", "notebooks", ".ci", ".github"),
    *("Makefile", "pyproject.toml", "requirements.lock", "requirements-uv.lock"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *(".gitignore", ".telemetry", "mkdocs.yml"),
)
OURS = ("unlearnable", "tests", "benchmarks", "docsite", "conftest")  # modules that each run must find in the copy
QUIET = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONDONTWRITEBYTECODE": "1"}
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "--no-header", "-W", "ignore::pytest.PytestAssertRewriteWarning")
WARM = (
    *("numpy", "pandas", "pyarrow.parquet", "scipy.io", "scipy.ndimage", "scipy.optimize", "torch", "torch._dynamo"),
    *("torchvision.models", "torchvision.transforms.v2", "sklearn.datasets", "sklearn.decomposition", "sklearn.linear_model"),
    *("sklearn.discriminant_analysis", "sklearn.model_selection", "matplotlib.figure", "PIL.Image", "safetensors.torch", "pydantic"),
    *("omegaconf", "fsspec", "jinja2", "rich.progress", "hypothesis", "kedro_datasets", "kedro.runner", "kedro.framework.session"),
    *("kedro.framework.startup", "kedro.framework.cli.project", "mlflow", "mlflow.store.tracking.sqlalchemy_store"),
)
TIMEOUT_S = 300.0  # of one fault's tests; the unchanged run has as long as it takes
TOLD = 15  # lines of what pytest said, where something went wrong
NO_END, PASSED, FAILED = -1, 0, 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a fault: ``code`` is pytest's exit code, or NO_END."""

    mutant: Mutant
    code: int
    seconds: float

    @property
    def word(self) -> str:
        """Return caught, survived or error."""
        return {FAILED: "caught", PASSED: "survived"}.get(self.code, "error")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A copy of a project, beside it what pytest says and the folder for its temporary files."""

    folder: Path

    @classmethod
    def of(cls, project: Path, folder: Path) -> "Bench":
        """Return a copy of ``project`` in ``folder``, with empty data folders."""
        bench = cls(folder=folder)
        bench.copy.mkdir()
        for source in (project / name for name in COPIED):
            if source.is_dir():
                shutil.copytree(source, bench.copy / source.name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
            elif source.exists():
                shutil.copy(source, bench.copy)
        for layer in (project / "data").glob("*/"):
            (bench.copy / "data" / layer.name).mkdir(parents=True)
        return bench

    @property
    def copy(self) -> Path:
        """Return where the copy lies."""
        return self.folder / "project"

    @property
    def log(self) -> Path:
        """Return where lies what the last run of pytest said."""
        return self.folder / "pytest.txt"

    def run(self, tests: Iterable[str], timeout_s: float) -> int:
        """Return pytest's exit code for these tests, or NO_END."""
        child = os.fork()
        if child == 0:
            self._become_pytest(tests)
        code = _waited_for(child, timeout_s)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what a test has started and left
        return code

    def said(self) -> str:
        """Return the last lines of the last run."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TOLD:])

    def _become_pytest(self, tests: Iterable[str]) -> None:
        """Make of this forked process one in which only the copy was ever imported, and end it as pytest ends."""
        code = 70
        try:
            os.setsid()
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(self.copy)
            _forget_ours(self.copy)
            code = _pytest([*OPTIONS, f"--basetemp={self.folder / 'temporary'}", *tests])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _waited_for(child: int, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return NO_END


def _forget_ours(copy: Path) -> None:
    """Leave no module of ours from before the fork, and no way to find one elsewhere than in ``copy``."""
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    elsewhere = ("", str(PROJECT), str(PROJECT / "src"))
    sys.path[:] = [str(copy / "src"), str(copy), *(path for path in sys.path if path not in elsewhere)]


def _pytest(arguments: list[str]) -> int:
    import pytest

    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)  # after the fork: a pool of threads does not live through one
    return int(pytest.main(arguments, plugins=[AsInTheirFiles()]))


class AsInTheirFiles:
    """Runs tests in the order in which their files have them, whatever order they are named in: some look at what those before made."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Sort the tests."""
        items.sort(key=lambda item: item.location[:2])


@contextmanager
def written(mutant: Mutant, project: Path):
    """Write the fault for the block, and put the file back."""
    path = project / mutant.file
    before = path.read_text()
    path.write_text(before.replace(mutant.before, mutant.after))
    try:
        yield
    finally:
        path.write_text(before)


def misplaced(mutants: Iterable[Mutant], project: Path) -> list[str]:
    """Return a line for each fault that does not fit its file exactly once."""
    found = {mutant: _count(mutant, project) for mutant in mutants}
    return [f"{mutant.name}: expected its text once in {mutant.file}, got {count}" for mutant, count in found.items() if count != 1]


def _count(mutant: Mutant, project: Path) -> int:
    path = project / mutant.file
    return path.read_text().count(mutant.before) if path.is_file() else 0


def try_all(mutants: Sequence[Mutant], bench: Bench) -> list[Verdict]:
    """Return what became of each fault, with a line for each while it goes on."""
    verdicts = []
    for number, mutant in enumerate(mutants, start=1):
        start = time.monotonic()
        with written(mutant, bench.copy):
            code = bench.run(mutant.tests, TIMEOUT_S)
        verdict = Verdict(mutant=mutant, code=code, seconds=time.monotonic() - start)
        click.echo(f"[{number:>{len(str(len(mutants)))}}/{len(mutants)}] {verdict.word:<8} {verdict.seconds:>5.1f} s  {mutant.name}")
        if verdict.word == "error":
            click.echo(f"{'no end' if code == NO_END else f'exit code {code}'}\n{bench.said()}")
        verdicts.append(verdict)
    return verdicts


def check(mutants: Sequence[Mutant], project: Path, *, slowest: bool = False) -> int:
    """Return 0 where every fault is caught in a copy of ``project``, else 1; say which are not."""
    with TemporaryDirectory() as folder:
        bench = Bench.of(project, Path(folder))
        if wrong := misplaced(mutants, bench.copy):
            click.echo("\n".join(wrong))
            return 1
        start = time.monotonic()
        code = bench.run(dict.fromkeys(test for mutant in mutants for test in mutant.tests), float("inf"))
        click.echo(f"unchanged: {'passed' if code == PASSED else 'FAILED'} in {time.monotonic() - start:.1f} s")
        if code != PASSED:
            click.echo(bench.said())
            return 1
        return told(try_all(mutants, bench), slowest=slowest)


def told(verdicts: list[Verdict], *, slowest: bool) -> int:
    """Say how many were caught and which were not; return the exit code."""
    by_time = sorted(verdicts, key=lambda verdict: -verdict.seconds)
    for verdict in by_time if slowest else ():
        click.echo(f"{verdict.seconds:>6.1f} s  {verdict.mutant.name}")
    missed = [verdict for verdict in verdicts if verdict.word != "caught"]
    click.echo(f"{len(verdicts) - len(missed)} of {len(verdicts)} caught in {sum(verdict.seconds for verdict in verdicts):.0f} s")
    for verdict in missed:
        click.echo(f"{verdict.word}: {verdict.mutant.name} ({verdict.mutant.file})")
    return 1 if missed else 0


def warm_up(modules: Iterable[str] = WARM) -> None:
    """Import what tests need and what takes seconds; nothing of ours."""
    os.environ.update(QUIET)
    os.environ.pop("PYTHONPATH", None)  # it would lead to the project that was copied
    sys.dont_write_bytecode = True
    for name in modules:
        importlib.import_module(name)


@click.command()
@click.option("--project", type=click.Path(exists=True, file_okay=False, path_type=Path), default=PROJECT, help="Whose copy is changed.")
@click.option("--only", metavar="WORDS", default="", help="Try the faults whose name has these words.")
@click.option("--slowest", is_flag=True, help="List the faults by the time that their tests took.")
def main(project: Path, only: str, slowest: bool) -> None:
    """Show that the tests see every fault of the table."""
    chosen = [mutant for mutant in MUTANTS if only in mutant.name]
    warm_up()
    raise SystemExit(check(chosen, project.resolve(), slowest=slowest))


if __name__ == "__main__":
    main()
