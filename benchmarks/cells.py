"""Run the cells of several poisons and seeds and print mean and deviation over seeds.

python -m benchmarks.cells --poisons ops,lsp --env cifar10 --params model=small_cnn,ingest.train_size=10000
"""

import argparse
import json
import math
import os
import re
import subprocess  # for our own commands  # nosec B404
import sys
import time
from pathlib import Path

import pandas as pd

TRAININGS = ("clean", "poisoned", "recovered")


def run_cell(env: str, params: str) -> dict[str, float]:
    """Run one cell in a process of its own; return its last accuracies, seconds and peak memory."""
    command = [sys.executable, "-m", "kedro", "run", "--pipeline=orthoproj", f"--env={env}", f"--params={params}", "--only-missing-outputs"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # no shell, our command  # noqa: S603  # nosec B603
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(output)
    [figure] = [line.split(": ", 1)[1] for line in output.splitlines() if line.startswith("accuracy: ")]
    [scores] = list(Path(figure).parents[2].glob("scores.json/*/scores.json"))
    accuracy = json.loads(scores.read_text())["accuracy"]
    crafted = re.search(r"crafted \S+ in ([0-9.]+) s", output)
    return {
        **{name: accuracy[name]["last"] for name in TRAININGS},
        "crafting": float(crafted[1]) if crafted else math.nan,
        "seconds": time.perf_counter() - start,
        "peak GiB": usage.ru_maxrss / 2**20,
    }


def main() -> None:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--poisons", default="lsp")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--env", default="local")
    parser.add_argument("--params", default="", help="as for kedro run")
    arguments = parser.parse_args()
    rows = []
    for poison in arguments.poisons.split(","):
        for seed in arguments.seeds.split(","):
            params = ",".join(filter(None, [arguments.params, f"poison={poison}", f"seed={seed}"]))
            rows.append({"poison": poison, "seed": int(seed), **run_cell(arguments.env, params)})
            print(rows[-1], file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    print("| poison | " + " | ".join(TRAININGS) + " | seconds a cell | peak memory |\n" + "|---" * 6 + "|")
    for poison, cells in table.groupby("poison", sort=False):
        means = [f"{cells[name].mean():.3f} ± {cells[name].std():.3f}" for name in TRAININGS]
        print(f"| `{poison}` | " + " | ".join(means) + f" | {cells['seconds'].max():.0f} at most | {cells['peak GiB'].max():.2f} GiB |")


if __name__ == "__main__":
    main()
