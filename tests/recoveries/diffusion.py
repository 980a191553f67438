"""A diffusion model of a few weights, as diffusers writes one."""

import tempfile
from functools import cache
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel

KEPT = []  # folders, which are removed when the process ends


def tiny_network(channels: int, width: int = 4, **more) -> UNet2DModel:
    """Return a network for images of 8x8 with random weights."""
    blocks = {"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")}
    sizes = {"layers_per_block": 1, "block_out_channels": (width, width), "norm_num_groups": 2, "add_attention": False}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return UNet2DModel(sample_size=8, in_channels=channels, out_channels=channels, **blocks, **sizes, **more)


def written(network: UNet2DModel, schedule: DDPMScheduler, folder: Path) -> str:
    """Write both as a pipeline of diffusers lies in a folder; return its path."""
    network.save_pretrained(folder / "unet")
    schedule.save_pretrained(folder / "scheduler")
    return str(folder)


@cache
def untrained(channels: int) -> str:
    """Return the folder of a diffusion model that has learned nothing."""
    KEPT.append(tempfile.TemporaryDirectory())
    return written(tiny_network(channels), DDPMScheduler(), Path(KEPT[-1].name))
