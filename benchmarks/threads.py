"""Images a second of a training by how OpenMP's threads wait, with a quiet machine and beside one busy process.

python -m benchmarks.threads --rounds 3
"""

import argparse
import contextlib
import os
import statistics
import subprocess  # for our own commands  # nosec B404
import sys
from collections.abc import Iterator

from benchmarks.timing import machine

DEFAULT = "as libgomp does (300,000 spins)"
WAITS: dict[str, dict[str, str]] = {
    DEFAULT: {},
    "100,000 spins": {"GOMP_SPINCOUNT": "100000"},
    "10,000 spins": {"GOMP_SPINCOUNT": "10000"},
    "1,000 spins": {"GOMP_SPINCOUNT": "1000"},
    "sleeps at once (PASSIVE)": {"OMP_WAIT_POLICY": "PASSIVE"},
}
TRAINING = """
import sys, time
import numpy as np, torch  # before our package, which would say how threads wait
from unlearnable.images import LabelledImages
from unlearnable.training import fit_named, recipe_from
model, threads, precision, steps = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(threads)
rng = np.random.default_rng(0)
pixels, labels = rng.integers(0, 256, (64 * steps, 3, 32, 32), dtype=np.uint8), np.arange(64 * steps) % 10
images = LabelledImages(images=pixels, labels=labels, num_classes=10)
augmentation = {"crop": 4, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
recipe = recipe_from({"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "precision": precision, "augmentation": augmentation})
times = []
note = lambda done, total: times.append(time.perf_counter())
list(fit_named(model, images, images.subset(np.arange(64)), like=images, recipe=recipe, seed=0, device="cpu", progress=note))
print(64 * (len(times) - 10) / (times[-1] - times[9]))
"""


def trained(wait: dict[str, str], model: str, threads: int, precision: str, steps: int) -> float:
    """Return images a second of a training in a process of its own."""
    usual = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", TRAINING, model, str(threads), precision, str(steps)]
    environment = usual | wait | {"PYTHONPATH": os.pathsep.join(["src", usual.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # no shell, our code  # noqa: S603  # nosec B603
    return float(done.stdout)


@contextlib.contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Have another process compute for ever on one core, if it is to be ``busy``."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None  # our own loop  # nosec B603
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def main() -> None:
    """Measure in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--models", default="tiny_cnn,small_cnn")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    print(f"{machine()}, {arguments.precision}; images a second, medians of {arguments.rounds}")
    for model in arguments.models.split(","):
        found: dict[tuple[str, int, bool], list[float]] = {}
        for _ in range(arguments.rounds):
            for busy in (False, True):
                with neighbour(busy):
                    for name, wait in WAITS.items():
                        for threads in (1, 2) if name == DEFAULT else (2,):  # one thread waits for nobody
                            speed = trained(wait, model, threads, arguments.precision, arguments.steps)
                            found.setdefault((name, threads, busy), []).append(speed)
                            print(f"{model}, {threads} threads, {name}, busy {busy}: {speed:.0f}", file=sys.stderr, flush=True)
        for name, threads, busy in sorted(found, key=lambda key: (key[2], key[1])):
            speed = statistics.median(found[name, threads, busy])
            print(f"{model:<10} {threads} threads, {'beside a busy process' if busy else 'quiet':<21}, {name:<33} {speed:7.0f}", flush=True)


if __name__ == "__main__":
    main()
