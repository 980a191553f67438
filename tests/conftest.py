"""Small images, and a copy of the project that a test may run and write in."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.timing import copied_project

from tests.faults.table import FUZZED, PAGE, ROW, Row, page
from unlearnable.images import LabelledImages

ROOT = Path(__file__).parents[1]
LONG = ("tests/study", "tests/faults", "tests/pipelines")  # go first, so that no process of the suite ends long after the other


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help=f"write docs/{PAGE.name} from the cases of tests/faults that ran")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_terminal_summary(terminalreporter, config):
    """Print what malformed inputs and damaged bytes led to, where they were tried; tests may have run in other processes."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind if getattr(report, "when", None) == "call"]
    told = [pair for report in reports for pair in report.user_properties]
    rows = sorted(Row(*row) for name, row in told if name == ROW)
    if fuzzed := [line for name, line in told if name == FUZZED]:
        terminalreporter.section("damaged bytes")
        terminalreporter.write_line("\n".join(fuzzed))
    if rows:
        terminalreporter.section("malformed inputs")
        for row in rows:
            terminalreporter.write_line(f"{row.number:>3}  {row.what:<45}  {row.exit_code}  {row.message}")
    if rows and config.getoption("write_table"):
        PAGE.write_text(page(rows))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Results differ between thread counts from the second step on."""
    torch.set_num_threads(1)


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


@cache
def empty_database() -> bytes:
    """Return a database with MLflow's tables: to make one takes a second, which most tests need not wait for."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        MlflowClient(f"sqlite:///{path}")
        return path.read_bytes()


def copy_project(folder: Path, *, tracked: bool = True) -> Path:
    """Return a project with this one's code and configuration and empty data folders, and a database unless it is not ``tracked``."""
    copied_project(folder)
    (folder / "data" / "01_raw").mkdir(parents=True)
    if tracked:
        (folder / "mlflow.db").write_bytes(empty_database())
    return folder
