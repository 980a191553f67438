"""A project that each case may damage: its command is run, and what it left behind is looked at."""

import contextlib
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.cli.utils import _split_params
from kedro.io import AbstractDataset, DatasetError

from tests.conftest import copy_project, recorded
from tests.sources.cifar import write_cifar10
from unlearnable.artifacts.atomic import sidecar, write_new
from unlearnable.cli import run as run_command
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.validation import check
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.settings import CONFIG_LOADER_ARGS
from unlearnable.sources.digits import DigitsOnPhotographs
from unlearnable.sources.foreign import FORMATS
from unlearnable.sources.foreign.convert import converted
from unlearnable.sources.foreign.releases import Request

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CACHES = ("__pycache__", "/matplotlib", "/torchinductor_")  # of the libraries, wherever they keep them
CHANGES = {"os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.chmod": 1}  # event: paths
COUNT, SHAPE = 300, (3, 32, 32)  # of the training images of --env=test


@dataclass(frozen=True)
class Sandbox:
    """A project in which a poison was crafted and projected away once, and beside it the folder ``given`` for files of others."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Sandbox":
        sandbox = cls(folder)
        copy_project(sandbox.project)
        with Watch(folder):
            result = sandbox.run(["--pipelines=ingest,craft_poison,orthogonal_projection", "--env=test"])
        assert result.exit_code == 0, result.output
        for name in ("conf", "data"):
            shutil.copytree(sandbox.project / name, folder / "as it was" / name)
        sandbox.restore()
        return sandbox

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def given(self) -> Path:
        return self.folder / "given"

    def restore(self) -> None:
        """Put configuration and data back, and empty the folder ``given``."""
        for name in ("conf", "data"):
            shutil.rmtree(self.project / name)
            shutil.copytree(self.folder / "as it was" / name, self.project / name)
        shutil.rmtree(self.given, ignore_errors=True)
        self.given.mkdir()

    def run(self, arguments: list[str]) -> Result:
        before = Path.cwd()
        os.chdir(self.project)
        try:
            return CliRunner().invoke(run_command, arguments)
        finally:
            os.chdir(before)

    def line(self, arguments: list[str]) -> tuple[int, str]:
        """Run the command; return its exit code and its one line."""
        result = self.run(arguments)
        lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result.exit_code, lines[0]

    def error(self, arguments: list[str]) -> str:
        """Return the message of the InputError that reading the input of the command raises, in this process."""
        with contextlib.chdir(self.project), pytest.raises(InputError) as raised:
            self._read(**dict(argument.removeprefix("--").split("=", 1) for argument in arguments))
        return str(raised.value)

    def _read(self, pipeline: str, env: str, params: str = "") -> None:
        given = _split_params(None, None, params)
        loader = RecipeConfigLoader(str(self.project / "conf"), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)
        if given.get("poison") == "released":
            self._read_release(loader["catalog"]["released_poison"])
            return
        check(loader["parameters"])
        try:
            AbstractDataset.from_config("raw_images", loader["catalog"]["raw_images"]).load()
        except DatasetError as error:  # Kedro's, around the error of the dataset
            raise error.__cause__ or error from None

    def _read_release(self, entry: dict[str, Any]) -> None:
        """Read a release as the child process does."""
        AbstractDataset.from_config("released_poison", entry).load().check()
        asked = {name: entry[name] for name in ("path", "format")} | {"budget": entry.get("budget", {})}
        asked |= {"path": Path(entry["path"]), "rounding": FORMATS[entry["format"]]}
        try:
            converted(Request(**asked), self.clean)
        except InputError as error:
            raise InputError(f"released_poison.path ({entry['path']}): {error}") from error

    @cached_property
    def clean(self) -> LabelledImages:
        """The training images of --env=test."""
        return DigitsOnPhotographs(name="digits", train_size=COUNT, test_size=100, seed=0).load().train

    # ---- what cases put in

    def released(self, path: Path, kind: str, **entry: Any) -> list[str]:
        """Have ``path`` read as a release; return the arguments of the command."""
        catalog = self.project / "conf" / "test" / "catalog.yml"
        fields = {"type": "unlearnable.sources.released.ReleasedPoison", "filepath": "data/02_intermediate/released"}
        fields |= {"path": str(path), "format": kind} | entry
        catalog.write_text(yaml.safe_dump(yaml.safe_load(catalog.read_text()) | {"released_poison": fields}))
        return ["--pipeline=craft_poison", "--env=test", "--params=poison=released"]

    def cifar(self, *, parameters: str = "", **options: Any) -> list[str]:
        """Have a small CIFAR-10 ingested; return the arguments of the command."""
        _, md5 = write_cifar10(self.given, **{"per_batch": 20} | options)
        catalog = self.project / "conf" / "cifar10" / "catalog.yml"
        entries = yaml.safe_load(catalog.read_text())
        entries["raw_images"]["md5"] = md5
        catalog.write_text(yaml.safe_dump(entries))
        return ["--pipeline=ingest", "--env=cifar10", f"--params=data_root={self.given}{parameters}"]

    def configured(self, file: str, text: str) -> list[str]:
        """Append ``text`` to a file of ``conf/test``; return the arguments of a command that reads it."""
        path = self.project / "conf" / "test" / file
        path.write_text(path.read_text() + text)
        return ["--pipeline=ingest", "--env=test"]

    def artifact(self, name: str = "clean_train") -> Path:
        """Return where the one version of an artifact lies."""
        [path] = (self.project / "data").rglob(f"{name}.safetensors/*/{name}.safetensors")
        return path

    def resealed(self, path: Path, content: bytes) -> None:
        """Write ``content`` to ``path`` with a sidecar that fits it."""
        path.unlink()
        sidecar(path).unlink()
        write_new(path, content)

    # ---- what is left behind

    def state(self) -> dict[str, str]:
        """Return the hash of every file of the data folder and outside of the project; a damaged one may be renamed.

        What a run records of itself is left out: that it was tried and failed is to be known.
        """
        roots = (self.project / "data", self.given, self.folder / "as it was")
        files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file() and "09_tracking" not in path.parts]
        names = {str(path.relative_to(self.folder)).replace(".damaged", ""): path for path in files}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names.items()}

    def runs_left_running(self) -> int:
        """Return how many runs of this project have not recorded their end."""
        return sum(run.status is None for run in recorded(self.project))


class Watch:
    """Notes what this process writes outside of ``folder`` while it is open. A hook cannot be taken away, so it is closed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.open, self.touched = folder, False, set[str]()
        sys.addaudithook(self._note)

    def __enter__(self) -> "Watch":
        self.open = True
        self.touched.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.open:
            return
        if event == "open" and isinstance(arguments[0], str | bytes) and (arguments[2] or 0) & WRITING:
            self._add(arguments[0])
        for path in arguments[: CHANGES.get(event, 0)]:
            self._add(path)

    def _add(self, path: Any) -> None:
        place = os.path.realpath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""
        if not place.startswith((str(self.folder.resolve()), "/dev/")) and not any(cache in place for cache in CACHES):
            self.touched.add(place)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def noise(*shape: int) -> np.ndarray:
    """Perturbations as float32 within 8/255, in the shape of the training images unless another is given."""
    return (np.random.default_rng(3).uniform(-8, 8, size=shape or (COUNT, *SHAPE)) / 255).astype(np.float32)
