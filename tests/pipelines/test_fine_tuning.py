"""A training in `--env=test` that starts from a checkpoint of another one."""

from pathlib import Path

import pytest
import safetensors.torch
from kedro.framework.session import KedroSession

from tests.conftest import copy_golden
from unlearnable.artifacts.atomic import sidecar
from unlearnable.errors import InputError


@pytest.fixture(scope="module")
def project(golden, tmp_path_factory) -> Path:
    """A project in which the main job has run once."""
    return copy_golden(golden, tmp_path_factory.mktemp("fine-tuning") / "project")


def checkpoint(project, seed: int) -> Path:
    [last] = (project / "data" / "06_models" / "digits" / "clean" / "tiny_cnn" / f"seed-{seed}").rglob("*.last.safetensors")
    return last


def run(project, monkeypatch, **parameters):
    monkeypatch.chdir(project)
    with KedroSession.create(project, env="test", runtime_params=parameters) as session:
        session.run(pipeline_names=["train_poisoned"], node_names=["trainings.train_clean"])


def test_a_checkpoint_is_fine_tuned_and_one_that_is_damaged_is_not(project, monkeypatch):
    source = checkpoint(project, seed=0)
    content = source.read_bytes()
    tuned = {"seed": 3, "train": {"weights": str(source.relative_to(project)), "freeze": "all but the head"}}
    run(project, monkeypatch, **tuned)
    before, after = safetensors.torch.load(content), safetensors.torch.load(checkpoint(project, seed=3).read_bytes())
    assert {name for name in before if not before[name].equal(after[name])} == {"head.weight", "head.bias"}
    source.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"^train\.weights: .*expected the SHA-256 .* of its sidecar, got "):
        run(project, monkeypatch, **tuned)
    sidecar(source).unlink()
    source.unlink()
    with pytest.raises(InputError, match=r"^train\.weights: expected a safetensors file, got data/06_models/.*, which is none$"):
        run(project, monkeypatch, **tuned)
