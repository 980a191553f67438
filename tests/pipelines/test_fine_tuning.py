"""A training in `--env=test` that starts from a checkpoint of another one."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from kedro.framework.session import KedroSession
from omegaconf import OmegaConf

from tests.config.test_recipe import loader
from tests.conftest import copy_golden
from unlearnable.artifacts.atomic import sidecar
from unlearnable.errors import InputError
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.pipelines.requirements import require


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


@pytest.mark.parametrize(("chain", "setting"), [("train_poisoned", "train"), ("dfr", "probe.train"), ("audit", "audit.train")])
def test_weights_of_another_network_are_refused_by_the_name_of_their_setting(chain, setting, clean, tmp_path):
    file = tmp_path / "head.safetensors"
    safetensors.torch.save_file({"head.bias": torch.zeros(3)}, file)
    given = {"poison": "ops", "recovery": "jpeg", "model": "tiny_cnn", "train.batch_size": 8, f"{setting}.weights": str(file)}
    asked = OmegaConf.to_container(OmegaConf.from_dotlist([f"{name}={value}" for name, value in given.items()]))
    parameters = loader(**asked)["parameters"]
    with pytest.raises(InputError, match=rf"^{setting}\.weights: expected the weights of 'tiny_cnn' for these images, got {file} without "):
        require(register_pipelines()[chain].nodes, clean, parameters)
