"""A training that was cut off goes on where it was begun, and is begun anew elsewhere."""

from dataclasses import replace

import pytest
import torch

from tests.artifacts.test_artifacts import make
from tests.conftest import make_images
from unlearnable.artifacts.checkpoints import CheckpointsDataset
from unlearnable.errors import InputError
from unlearnable.pipelines.craft_poison.nodes import craft
from unlearnable.pipelines.probe_checkpoints.nodes import reweight
from unlearnable.pipelines.train_poisoned.nodes import UNFINISHED, train
from unlearnable.training import Trainer

IMAGES = make_images(48, classes=3)
RECIPE = {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, "precision": "float32"}
GPU = {"device": "cuda", "name": "a card", "precision": "bfloat16", "torch": torch.__version__}


def trained(folder, label="clean", **changed):
    """Yield the checkpoints of the node."""
    recipe = RECIPE | changed | {UNFINISHED: make(CheckpointsDataset, folder).to_go_on_from}
    return train(IMAGES, IMAGES, IMAGES, "tiny_cnn", recipe, 0, "cpu", label=label)


def cut_off(folder, **changed) -> list:
    """Save two epochs as a run does that is then killed, with what they were made on rewritten."""
    dataset = make(CheckpointsDataset, folder)
    checkpoints = list(trained(folder))
    for each in checkpoints[:2]:
        dataset.save(replace(each, made_on=each.made_on | changed))
    dataset.release()
    return checkpoints


@pytest.mark.parametrize("elsewhere", [{}, {"name": "another"}, GPU, {"precision": "bfloat16"}], ids=["here", "name", "GPU", "precision"])
def test_a_training_goes_on_here_alone_and_ends_the_same(elsewhere, tmp_path, monkeypatch):
    unbroken = cut_off(tmp_path, **elsewhere)
    epochs, real = [], Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", lambda self, *rest: epochs.append(self.steps_done // 3 + 1) or real(self, *rest))
    found = list(trained(tmp_path))
    anew = {"device", "precision"} & elsewhere.keys()
    assert epochs == ([1, 2, 3] if anew else [3])
    assert [each.epoch for each in found] == [1, 2, 3]
    assert [each["loss"] for each in found[-1].history] == [each["loss"] for each in unbroken[-1].history]
    assert all(torch.equal(found[-1].state[name], value) for name, value in unbroken[-1].state.items())
    assert found[-1].made_on["device"] == "cpu"


# ---- out of memory


@pytest.fixture
def no_memory(monkeypatch):
    def step(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Trainer, "_computed", step)


@pytest.mark.parametrize(("label", "setting"), [("clean", "train.batch_size"), ("probed", "probe.train.batch_size")])
def test_a_training_without_memory_names_its_batch_size(label, setting, tmp_path, no_memory):
    with pytest.raises(InputError, match=f"device: out of memory on the GPU: lower {setting} "):
        list(trained(tmp_path, label=label))


def test_a_crafting_without_memory_names_the_surrogates_batch_size(no_memory):
    settings = {"em_samplewise": {"surrogate": {"model": "tiny_cnn", "batch_size": 16}, "noise": {"rounds": 1}}}
    with pytest.raises(InputError, match=r"device: out of memory on the GPU: lower craft.em_samplewise.surrogate.batch_size \(CUDA"):
        craft(IMAGES, "em_samplewise", settings | {"seed": 0}, "cpu")


def test_a_probe_without_memory_names_its_clean_samples_and_no_other_network(tmp_path, monkeypatch):
    def load(self, state):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    checkpoints = list(trained(tmp_path))
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", load)
    settings = {"clean_samples": 12, "held_out": 6, "train": RECIPE}
    with pytest.raises(InputError, match=r"device: out of memory on the GPU: lower probe.clean_samples \(CUDA"):
        reweight(checkpoints, IMAGES, IMAGES, "tiny_cnn", settings, 0, "cpu")
