"""AVATAR: Dolatabadi et al., "The Devil's Advocate: Shattering the Illusion of Unexploitable Data using Diffusion Models" (SaTML 2024).

Noise drowns the perturbation, and a diffusion model of clean images takes both off. How many steps of noise is a setting of the code
(hmdolatabadi/AVATAR at 978df2e, README.md). Each step is one of its runners/diffpure_ddpm.py, that of Ho et al., "Denoising Diffusion
Probabilistic Models" (NeurIPS 2020), Algorithm 2, with the variance of the noise that was put on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.errors import InputError
from unlearnable.hub import from_hub, require_package
from unlearnable.images import LabelledImages
from unlearnable.ranges import AT_LEAST_ONE
from unlearnable.recoveries.base import Needs, Recovery, each_changed, register
from unlearnable.seeds import borrowed_global_torch, torch_generator
from unlearnable.training import Progress, ignore

WEIGHTS = "recover.avatar.weights"
FILES = ("*.json", "*.safetensors")  # nothing that runs code as it is read


@register("avatar")
@dataclass(frozen=True, kw_only=True)
class Avatar(Recovery):
    """What a diffusion model of clean images makes of each image, after noise was put on it.

    Args:
        weights: of the diffusion model: a folder as diffusers writes it, or the name of one on the Hugging Face hub.
        steps: of noise that are put on and taken off again.
        batch_size: images at once.
    """

    shows_progress: ClassVar[bool] = True

    weights: str = "google/ddpm-cifar10-32"
    steps: Annotated[int, AT_LEAST_ONE] = 100
    batch_size: Annotated[int, AT_LEAST_ONE] = 64

    @property
    def needs(self) -> Needs:
        """A diffusion model of clean images, and a look at every image."""
        return Needs(once=True, diffusion=True)

    def require(self, clean: LabelledImages) -> None:
        """Raise InputError if the diffusion model is of other channels, or has fewer steps."""
        self.model_of(clean)

    def model_of(self, images: LabelledImages) -> tuple[Any, Any]:
        """Return the diffusion model and its schedule; raise InputError if it is of other channels than the images, or has fewer steps."""
        network, schedule = diffusion_model(self.weights)
        if network.config.in_channels != images.shape[0]:
            got = network.config.in_channels
            raise InputError(f"{WEIGHTS}: expected a diffusion model of as many channels as these images, {images.shape[0]}, got {got}")
        if self.steps > schedule.config.num_train_timesteps:
            most = schedule.config.num_train_timesteps
            raise InputError(f"recover.avatar.steps: expected at most {most}, the steps of the diffusion model, got {self.steps}")
        return network, schedule

    def recovered(self, poisoned: LabelledImages, *, seed: int, device: torch.device, progress: Progress = ignore) -> LabelledImages:
        """Return the purified images."""
        network, schedule = self.model_of(poisoned)
        network.to(device)
        generator = torch_generator(seed, f"recovery/{self.name}")
        own, side = poisoned.shape[1:], network.config.sample_size
        size = own if side is None else (side, side)
        done, steps = count(1), math.ceil(len(poisoned) / self.batch_size) * self.steps

        def denoise(noisy: Tensor, step: int) -> Tensor:
            progress(next(done), steps)
            noise: Tensor = network(noisy, step).sample
            return noise

        def change(images: Tensor) -> Tensor:
            purified = purify(resized(images, size) * 2 - 1, denoise, schedule, self.steps, generator)
            return resized(purified / 2 + 0.5, own)

        with torch.inference_mode():
            return each_changed(poisoned, change, device, at_once=self.batch_size)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (N, C, H, W) of that height and width."""
    return images if images.shape[2:] == size else F.interpolate(images, size, mode="bilinear")


def purify(images: Tensor, denoise: Callable[[Tensor, int], Tensor], schedule: Any, steps: int, generator: torch.Generator) -> Tensor:
    """Return images after noise was put on them and taken off.

    Args:
        images: (N, C, H, W) in units of [-1, 1].
        denoise: finds the noise in images after so many steps, counted from 0.
        schedule: diffusers' DDPMScheduler, which says how much noise each step has.
        steps: how many.
        generator: of all noise, on the CPU.
    """
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    noisy: Tensor = schedule.add_noise(images, noise, torch.tensor([steps - 1], device=images.device))
    for step in reversed(range(steps)):
        noisy = schedule.step(denoise(noisy, step), step, noisy, generator=generator).prev_sample
    return noisy


def diffusion_model(weights: str) -> tuple[Any, Any]:
    """Return diffusers' UNet2DModel of a diffusion model, and its DDPMScheduler, which clips nothing, as the reference's does not.

    Raises:
        InputError: diffusers is not installed, or there is no such model, or it is none that diffusers reads.
    """
    folder = folder_of(weights)
    from diffusers import DDPMScheduler, UNet2DModel

    places = [place if (place := folder / part).is_dir() else folder for part in ("unet", "scheduler")]
    try:
        with borrowed_global_torch(0, "recovery/avatar"):  # it draws weights before it reads them
            network = UNet2DModel.from_pretrained(places[0], use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False)
        schedule = DDPMScheduler.from_pretrained(
            places[1], local_files_only=True, clip_sample=False, thresholding=False, variance_type="fixed_large"
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{WEIGHTS}: expected a diffusion model that diffusers has written, got {folder} ({problem})") from None
    return network.eval(), schedule


def folder_of(weights: str) -> Path:
    """Return the folder of a diffusion model; one of the hub is downloaded once.

    Raises:
        InputError: diffusers is not installed, the folder is another, or there is neither a folder nor such a model on the hub.
    """
    require_package("diffusers", "diffusion", "recovery 'avatar'")
    from huggingface_hub import snapshot_download

    if (folder := Path(weights)).is_dir():
        if not any((folder / part / "config.json").is_file() for part in ("unet", "")):
            raise InputError(f"{WEIGHTS}: expected a diffusion model that diffusers has written, got {folder}, which has no config.json")
        return folder

    def fetch(is_local: bool) -> str:
        return snapshot_download(weights, allow_patterns=list(FILES), local_files_only=is_local)  # recipes have its hash  # nosec B615

    return from_hub(weights, f"{WEIGHTS}: expected a diffusion model '{weights}'", fetch)
