"""What D-VAE and AVATAR take at their published settings: counted and timed for a few images, and multiplied up to 50,000.

python -m benchmarks.purification
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import machine
from unlearnable.images import LabelledImages
from unlearnable.recoveries import recover

ALL = 50_000
AT_ONCE = {"d_vae": 128, "avatar": 16}  # images that are measured: one batch
REPEATED = {"d_vae": ("epochs", 60), "avatar": ("steps", 100)}  # cost is linear in these, for so many of which it is told
DOWN = ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D")


def diffusion_model(folder: Path) -> str:
    """Write a network as large as google/ddpm-cifar10-32, with random weights."""
    up = tuple(name.replace("Down", "Up") for name in reversed(DOWN))
    sizes = {"block_out_channels": (128, 256, 256, 256), "layers_per_block": 2, "downsample_padding": 0}
    UNet2DModel(sample_size=32, down_block_types=DOWN, up_block_types=up, attention_head_dim=None, **sizes).save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)
    return str(folder)


def cost(name: str, settings: dict[str, object], repeats: int) -> np.ndarray:
    """Return FLOP and CPU seconds of a recovery of one batch."""
    labels = np.arange(AT_ONCE[name], dtype=np.int64) % 10
    images = np.random.default_rng(0).integers(0, 256, size=(len(labels), 3, 32, 32), dtype=np.uint8)
    some = LabelledImages(images=images, labels=labels, num_classes=10)
    repeated = {REPEATED[name][0]: repeats, "batch_size": len(labels)}
    before = time.process_time()
    with FlopCounterMode(display=False) as counter:
        recover(name, some, seed=0, device=torch.device("cpu"), settings=settings | repeated)
    return np.array([counter.get_total_flops(), time.process_time() - before])


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print(machine(), "1 thread, float32")
    print(f"| recovery | settings | PFLOP for {ALL:,} images | CPU hours here |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        own = {"d_vae": {}, "avatar": {"weights": diffusion_model(Path(folder))}}
        for name, settings in own.items():
            cost(name, settings, 1)  # imports, and the first calls of kernels
            one, two = cost(name, settings, 1), cost(name, settings, 2)
            setting, repeats = REPEATED[name]
            flop, seconds = (one + (repeats - 1) * (two - one)) * ALL / AT_ONCE[name]
            told = f"{setting}: {repeats}, batches of {AT_ONCE[name]}"
            print(f"| `{name}` | {told} | {flop / 1e15:.1f} | {seconds / 3600:.0f} |")
    print(f"peak memory of both: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
