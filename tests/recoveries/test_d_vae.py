"""What the two autoencoders of D-VAE do with images, and that they learn."""

import numpy as np
import torch

from tests.conftest import make_images
from unlearnable.recoveries import recover
from unlearnable.recoveries.d_vae import Autoencoder, Decoded, DVae
from unlearnable.seeds import borrowed_global_torch

CPU = torch.device("cpu")


def test_perturbations_are_subtracted_twice_and_what_is_left_is_reconstructed(monkeypatch):
    """The stand-in takes a grey of each class for its perturbation, and reconstructs images half as bright."""

    def decoded(_self, images, labels, _generator):
        return Decoded(images / 2, (labels / 20).view(-1, 1, 1, 1).expand_as(images), torch.zeros(()))

    monkeypatch.setattr(Autoencoder, "forward", decoded)
    monkeypatch.setattr(DVae, "train", lambda *_: None)
    images = make_images(20, classes=4)
    found = recover("d_vae", images, seed=0, device=CPU, settings={"width": 2, "latent": 2, "batch_size": 8}).images
    perturbations = images.labels[:, None, None, None] / 20 * 255
    expected = ((images.images - perturbations).clip(0) - perturbations).clip(0) / 2
    assert np.abs(found - expected).max() < 0.76  # both are rounded, the first before it is halved


def test_an_autoencoder_learns_to_reconstruct_images_and_leaves_little_to_perturbations():
    images = make_images(32, classes=4)
    pixels, labels = torch.from_numpy(images.images).float() / 255, torch.from_numpy(images.labels)
    with borrowed_global_torch(0, "test"):
        autoencoder = Autoencoder(images.shape, 4, 4, 4)

    @torch.no_grad()
    def errors():
        decoded = autoencoder.eval()(pixels, labels, torch.Generator().manual_seed(0))
        return (decoded.images - pixels).square().mean(), decoded.perturbation.square().mean()

    before, first = errors()
    DVae(epochs=13, batch_size=32).train(autoencoder, images, 1.0, torch.Generator().manual_seed(0), lambda: None)
    after, last = errors()
    assert after < 0.7 * before
    assert last < 0.7 * first
