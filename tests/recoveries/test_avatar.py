"""Purification by a diffusion model: a small one that is trained here takes perturbations off; what is none is named."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from safetensors.torch import load_file

from tests.recoveries.diffusion import tiny_network, untrained, written
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.recoveries import recover

CPU = torch.device("cpu")
STEPS = 60


def flat(count, seed):
    """Return images of one colour each."""
    levels = np.random.default_rng(seed).integers(60, 196, size=(count, 3, 1, 1))
    images = np.broadcast_to(levels, (count, 3, 8, 8)).astype(np.uint8)
    return LabelledImages(images=images, labels=np.arange(count, dtype=np.int64) % 4, num_classes=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A diffusion model that learned from clean images as Ho et al. train one: it finds the noise that was put on them."""
    network, schedule = tiny_network(3, width=16), DDPMScheduler(num_train_timesteps=STEPS, beta_end=0.1)
    pixels = torch.from_numpy(flat(256, seed=1).images).float() / 127.5 - 1
    own, optimiser = torch.Generator().manual_seed(0), torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(100):
        images = pixels[torch.randint(len(pixels), (32,), generator=own)]
        noise, steps = torch.randn(images.shape, generator=own), torch.randint(STEPS, (32,), generator=own)
        loss = F.mse_loss(network(schedule.add_noise(images, noise, steps), steps).sample, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return written(network, schedule, tmp_path_factory.mktemp("diffusion"))


def test_perturbations_of_classes_go_and_images_come_nearer_to_the_originals(trained):
    images = flat(64, seed=2)
    perturbations = np.random.default_rng(0).choice([-24, 24], size=(4, 3, 8, 8))[images.labels]
    poisoned = replace(images, images=(images.images + perturbations).astype(np.uint8))
    found = recover("avatar", poisoned, seed=0, device=CPU, settings={"weights": trained, "steps": 10, "batch_size": 32})
    left = found.images.astype(int) - images.images
    assert (left * perturbations).mean() < 0.2 * 24**2
    assert (left**2).mean() < 0.6 * 24**2


def test_its_progress_has_every_step():
    told = []
    settings = {"weights": untrained(3), "steps": 3, "batch_size": 20}
    recover("avatar", flat(50, seed=0), seed=0, device=CPU, settings=settings, progress=lambda *steps: told.append(steps))
    assert told == [(step, 9) for step in range(1, 10)]


def test_nothing_is_clipped_and_each_step_has_the_noise_that_was_put_on(tmp_path):
    """As in the reference, whatever the files of the model say."""
    images, settings = flat(4, seed=0), {"steps": 40, "batch_size": 4}
    schedules = (
        DDPMScheduler(variance_type=variance, clip_sample=clip) for variance, clip in (("fixed_small", True), ("fixed_large", False))
    )
    folders = [written(tiny_network(3), schedule, tmp_path / str(place)) for place, schedule in enumerate(schedules)]
    one, other = (recover("avatar", images, seed=0, device=CPU, settings={"weights": each, **settings}) for each in folders)
    assert np.array_equal(one.images, other.images)


def refused(images, **settings):
    with pytest.raises(InputError) as error:
        recover("avatar", images, seed=0, device=CPU, settings=settings)
    return str(error.value)


def test_a_model_of_other_images_or_of_fewer_steps_is_one_line():
    images = flat(4, seed=0)
    grey = replace(images, images=images.images[:, :1])
    expected = "recover.avatar.weights: expected a diffusion model of as many channels as these images, 1, got 3"
    assert refused(grey, weights=untrained(3)) == expected
    expected = "recover.avatar.steps: expected at most 1000, the steps of the diffusion model, got 1001"
    assert refused(images, weights=untrained(3), steps=1001) == expected


def without_config(folder):
    (folder / "unet" / "config.json").unlink()


def cut_short(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])


def of_another_network(folder):
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [8, 8]}))


def only_pickled(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()


@pytest.mark.parametrize("spoilt", [without_config, cut_short, of_another_network, only_pickled, shutil.rmtree])
def test_what_is_no_diffusion_model_is_one_line(spoilt, tmp_path):
    folder = shutil.copytree(untrained(3), tmp_path / "model")
    spoilt(folder)
    folder.mkdir(exist_ok=True)
    line = refused(flat(4, seed=0), weights=str(folder))
    assert line.startswith(f"recover.avatar.weights: expected a diffusion model that diffusers has written, got {folder}")
    assert "\n" not in line


def test_a_model_of_the_hub_is_downloaded_where_it_is_not_there(monkeypatch):
    asked = []

    def snapshot(name, *, allow_patterns, local_files_only):
        asked.append((name, tuple(allow_patterns), local_files_only))
        if local_files_only:
            raise OSError("not here")
        return untrained(3)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: None)
    settings = {"steps": 1, "batch_size": 4}
    found = recover("avatar", flat(4, seed=0), seed=0, device=CPU, settings={"weights": "some/model", **settings})
    same = recover("avatar", flat(4, seed=0), seed=0, device=CPU, settings={"weights": untrained(3), **settings})
    assert np.array_equal(found.images, same.images)
    assert set(asked) == {("some/model", ("*.json", "*.safetensors"), local) for local in (True, False)}


def test_where_there_is_neither_a_folder_nor_a_network_it_says_so(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", fail)
    expected = (
        "recover.avatar.weights: expected a diffusion model 'nothing/there' on this machine or on the hub, got none (no route to host)"
    )
    assert refused(flat(4, seed=0), weights="nothing/there") == expected


def test_without_its_extra_the_line_says_which(monkeypatch):
    monkeypatch.setattr("unlearnable.hub.find_spec", lambda package: None)
    line = refused(flat(4, seed=0), weights=untrained(3))
    assert (
        line == "recovery 'avatar': expected the packages of the extra 'diffusion', got no diffusers: pip install 'unlearnable[diffusion]'"
    )
