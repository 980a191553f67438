"""Memory of the main job on ImageNet's form at 224 pixels: what a run holds itself, beside pages of files that it may give back.

python -m benchmarks.large_images --sizes 4500,9000 --folder /big/disk
python -m benchmarks.large_images --sizes 300 --model resnet18 --batch-size 128

Generates that many JPEGs of 100 classes, runs `orthoproj` on each number of them for one epoch, and tells the peak of the run's anonymous
memory (RssAnon), and of what it has in memory with pages of files.
"""

import argparse
import os
import subprocess  # for our own commands  # nosec B404
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import copied_project

CLASSES = 100
PARAMETERS = "poison=classwise_random,train.epochs=1,recover.orthogonal_projection.epochs=1"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="4500,9000", help="numbers of training images")
    parser.add_argument("--folder", type=Path, help="for the images and what is made of them: 2 MB an image")
    parser.add_argument("--model", default="timm:mobilenetv3_small_050")
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    parameters = f"{PARAMETERS},model={arguments.model},train.batch_size={arguments.batch_size}"
    for size in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measured(size, Path(folder), parameters)


def measured(size: int, folder: Path, parameters: str) -> None:
    """Generate images, run the main job on them, and print what it took."""
    start = time.perf_counter()
    for seed, (part, count) in enumerate((("train", size // CLASSES), ("val", 5))):
        write(folder / "data" / "imagenet" / part, count, seed)
    print(f"{size:,} images written in {time.perf_counter() - start:.0f} s", flush=True)
    project = copied_project(folder / "project")
    command = [sys.executable, "-m", "kedro", "run", "--pipeline=orthoproj", "--env=imagenet100"]
    command += [f"--params=data_root={folder / 'data'},{parameters}"]
    environment = {**os.environ, "DO_NOT_TRACK": "true", "TMPDIR": str(folder), "COLUMNS": "200"}
    start = time.perf_counter()
    with (folder / "log").open("w") as log:
        run = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=subprocess.STDOUT)  # no shell  # noqa: S603  # nosec B603
        peaks = watched(run)
    if run.returncode:
        raise RuntimeError((folder / "log").read_text()[-2000:])
    whole = size * 3 * 224 * 224
    print(f"the set: {whole / 2**30:.1f} GiB in levels, {4 * whole / 2**30:.1f} GiB as float32", flush=True)
    took = time.perf_counter() - start
    print(
        f"{size:,} images: {took:.0f} s, at most {peaks['RssAnon']:.2f} GiB of its own and {peaks['VmRSS']:.2f} GiB with files", flush=True
    )


def watched(run: "subprocess.Popen[bytes]") -> dict[str, float]:
    """Return the peaks, in GiB, of what a process holds until it ends."""
    peaks = {"RssAnon": 0.0, "VmRSS": 0.0}
    while run.poll() is None:
        for line in Path(f"/proc/{run.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in peaks:
                peaks[name] = max(peaks[name], int(value.split()[0]) / 2**20)
        time.sleep(0.1)
    return peaks


def write(folder: Path, each: int, seed: int) -> None:
    """Write ``each`` JPEGs of every class, smooth and of ImageNet's usual size."""
    rng = np.random.default_rng(seed)
    for label in range(CLASSES):
        place = folder / f"n{label:08}"
        place.mkdir(parents=True)
        for number in range(each):
            small = rng.integers(256, size=(12, 16, 3), dtype=np.uint8)
            Image.fromarray(small).resize((500, 375), Image.Resampling.BILINEAR).save(place / f"{number}.JPEG", quality=90)


if __name__ == "__main__":
    main()
