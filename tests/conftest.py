"""Small images, and a copy of the project that a test may run and write in."""

import gc
import io
import os
import pickle
import shutil
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import omegaconf.base
import pytest
import torch
from benchmarks.timing import copied_project
from filelock import FileLock
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from omegaconf import OmegaConf

from tests.faults.table import FUZZED, PAGE, ROW, Row, page
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.images import LabelledImages
from unlearnable.tracking.record import read, records

ROOT = Path(__file__).parents[1]
SHARED = "UNLEARNABLE_TESTS"  # the variable that names the folder of what is made once for all processes of the suite
LONG = ("tests/study", "tests/faults", "tests/pipelines")  # go first, so that no process of the suite ends long after the other


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help=f"write docs/{PAGE.name} from the cases of tests/faults that ran")


def pytest_collection_modifyitems(items):
    """Order: what takes long, the rest, and last what stands on real servers."""
    items.sort(key=lambda item: (item.get_closest_marker("system") is not None, not item.nodeid.startswith(LONG)))


def pytest_collection_finish():
    """Leave out of each later collection of garbage what all tests share: the libraries' million objects."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter, config):
    """Print what malformed inputs and damaged bytes led to, where they were tried; tests may have run in other processes."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind if getattr(report, "when", None) == "call"]
    told = [pair for report in reports for pair in report.user_properties]
    rows = sorted((Row(*row) for name, row in told if name == ROW), key=lambda row: (row.number, row.what))
    if fuzzed := [line for name, line in told if name == FUZZED]:
        terminalreporter.section("damaged bytes")
        terminalreporter.write_line("\n".join(fuzzed))
    if rows:
        terminalreporter.section("malformed inputs")
        for row in rows:
            terminalreporter.write_line(f"{row.number:>3}  {row.what:<45}  {row.exit_code or ' '}  {row.message}")
    if rows and config.getoption("write_table"):
        PAGE.write_text(page(rows))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Results differ between thread counts from the second step on."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _bootstrapped():
    """Have Kedro know the package once: its settings read the whole stack each time, and all copies of the project have the same."""
    bootstrap_project(ROOT)


@pytest.fixture(autouse=True, scope="session")
def _configuration_is_read_once():
    """Have equal files be read and merged once for each environment and command line, which takes OmegaConf half a second of CPU."""
    read, known = OmegaConf.load, {}

    def load(file):
        text = file.read() if hasattr(file, "read") else Path(file).read_text()
        return once(text, lambda: read(io.StringIO(text)))

    def once(asked, find):
        if asked not in known:
            known[asked] = pickle.dumps(find())
        return pickle.loads(known[asked])  # what this process has pickled  # noqa: S301

    def of_equal_files(method):
        def found(loader, key):
            if key in ("catalog", "credentials"):  # paths depend on data too, and credentials on the environment's variables
                return method(loader, key)
            said = (method.__name__, key, loader.env, loader.runtime_params, loader._graph.entries, configuration(loader.conf_source))
            return once(pickle.dumps(said), lambda: method(loader, key))

        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(load))
        patch.setattr(omegaconf.base, "parse", cache(omegaconf.base.parse))
        for method in (RecipeConfigLoader._resolved, RecipeConfigLoader._read_entry):
            patch.setattr(RecipeConfigLoader, method.__name__, of_equal_files(method))
        yield


def configuration(folder: str) -> list[tuple[str, bytes]]:
    """Return the name below the folder and the content of each file of a configuration, which may be an archive."""
    place = Path(folder)
    files = sorted(place.rglob("*.yml")) if place.is_dir() else [place]
    return [(str(path.relative_to(place)), path.read_bytes()) for path in files if path.is_file()]


@pytest.fixture(autouse=True)
def _mlflow_names_no_server():
    """Take back what MLflow leaves in the environment where a test names it a server: a run says that it goes elsewhere."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def clean() -> LabelledImages:
    """60 smooth images of 3 classes, 16x16 RGB."""
    return make_images(60, classes=3)


def make_images(size: int, *, classes: int, side: int = 16, seed: int = 0) -> LabelledImages:
    """Images whose brightest quarter tells the class, with noise, so that a network learns them in a few epochs."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size, dtype=np.int64) % classes
    images = rng.integers(40, 120, size=(size, 3, side, side))
    for image, label in zip(images, labels, strict=True):
        image[:, (label % 4 // 2) * side // 2 :, (label % 2) * side // 2 :][:, : side // 2, : side // 2] += 30 + 15 * (label // 4)
    return LabelledImages(images=images.astype(np.uint8), labels=labels, num_classes=classes)


@pytest.fixture
def global_generators_untouched():
    """Fail a test that reads or seeds a global generator."""
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def pytest_configure(config):
    """Have both processes of the suite use the golden project that the first one makes."""
    shared = Path(tempfile.gettempdir()) / "unlearnable-tests"
    os.environ.setdefault(SHARED, str(shared / f"{os.getpid()}-{time.time_ns()}"))


def pytest_unconfigure(config):
    gc.unfreeze()  # or nanobind reports what is left over
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(SHARED), ignore_errors=True)


@cache
def empty_database() -> bytes:
    """Return a database with MLflow's tables: to make one takes a second, which most tests need not wait for."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        MlflowClient(f"sqlite:///{path}")
        return path.read_bytes()


def copy_project(folder: Path, *, tracked: bool = False) -> Path:
    """Return a project with this one's code and configuration and empty data folders.

    Its runs record themselves; MLflow gets that where it is ``tracked``, and is not even imported where not, which takes seconds.
    """
    copied_project(folder)
    (folder / "data" / "01_raw").mkdir(parents=True)
    local = folder / "conf" / "local"
    local.mkdir(exist_ok=True)
    (local / "mlflow.yml").write_text(f"tracking_uri: {'sqlite:///mlflow.db' if tracked else 'null'}\n")
    if tracked:
        (folder / "mlflow.db").write_bytes(empty_database())
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """A project in which every chain has run once in `--env=test`, tracked; not to be written in."""
    shared = Path(os.environ[SHARED])
    shared.mkdir(parents=True, exist_ok=True)
    with FileLock(shared / "golden.lock"):
        if not (shared / "made").exists():
            project = copy_project(shared / "golden", tracked=True)
            with KedroSession.create(project, env="test") as session:
                session.run(pipeline_names=["orthoproj", "dfr", "separability"], only_missing_outputs=True)
            (shared / "made").touch()
    return shared / "golden"


def copy_golden(golden: Path, folder: Path) -> Path:
    """Return a project with what the runs of the golden one have made, which is not tracked."""
    copy_project(folder)
    shutil.copytree(golden / "data", folder / "data", dirs_exist_ok=True)
    return folder


@dataclass(frozen=True)
class Recorded:
    """What a run has recorded of itself: the events of the cell and of its children, by label."""

    events: dict[str, list[dict]]

    @property
    def status(self) -> str | None:
        return self.events["cell"][-1].get("status")

    @property
    def error(self) -> str:
        return self.events["cell"][-1].get("error", "")

    @property
    def params(self) -> dict[str, str]:
        return self.events["cell"][0]["params"]

    def metrics(self, label: str, name: str) -> list[tuple[int, float]]:
        events = [event for event in self.events[label] if event["event"] == "metrics" and name in event["values"]]
        return [(event["step"], event["values"][name]) for event in events]


def recorded(project: Path) -> list[Recorded]:
    """Return what the runs of a project have recorded, the oldest first."""
    found = []
    for path in records(project / "data" / "09_tracking"):
        events: dict[str, list[dict]] = {}
        for event, _ in read(path):
            events.setdefault(event["label"], []).append(event)
        found.append(Recorded(events))
    return found
