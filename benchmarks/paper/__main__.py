"""Measure the paper's cells at its own scale, the most wanted first, in what time a card is there.

python -m benchmarks.paper --pack parts --data-root /data
python -m benchmarks.paper --part engine --data parts --device cuda --seconds 120 --out first
python -m benchmarks.paper --part paper --data parts --device cuda --seconds 570 --out second
python -m benchmarks.paper --table
python -m benchmarks.paper --dry-run --data parts --device cpu --out dry

Images are packed into parts that can be carried to a machine where nothing can be fetched; the engine's checks need train_a alone.
What --results or --out holds is not measured again, and a cell is begun only where it is expected to end in time. Its line goes to
cells.jsonl and its epochs to epochs.jsonl, so the same command goes on after whatever stopped it. --table writes the section of
docs/results/README.md from docs/results/paper.jsonl. It needs no Kedro, but torch, torchvision, NumPy, pandas, SciPy, scikit-learn,
threadpoolctl, Pillow and PyYAML.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.paper.cells import CELLS, Cell
from benchmarks.paper.data import CLASSES, PARTS, files, pack, packed
from benchmarks.paper.lines import read
from benchmarks.paper.table import EXPECTED, PAGE, RESULTS, with_section
from benchmarks.paper.work import Bench
from benchmarks.poisons import say
from unlearnable.errors import InputError
from unlearnable.register import nearest
from unlearnable.training.device import choose_device

NEAR = 6  # cells from which one is taken while the poison of the first is not there yet; then that one is waited for


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise InputError."""
        raise InputError(message.removeprefix("argument "))


def one_of(*names: str) -> Callable[[str], str]:
    """Return what refuses any other value."""

    def known(value: str) -> str:
        if value not in names:
            raise argparse.ArgumentTypeError(f"expected {', '.join(names[:-1])} or {names[-1]}, got '{value}'{nearest(value, list(names))}")
        return value

    return known


def seconds(value: str) -> float:
    """Return a number of seconds above 0."""
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got '{value}'")
    return found


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = Parser("python -m benchmarks.paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=one_of("engine", "paper"), default="paper")
    parser.add_argument("--data", type=Path, help="the folder of packed images")
    parser.add_argument("--out", type=Path, default=Path("data/07_model_output/paper"))
    parser.add_argument(
        "--results", type=Path, help=f"cells that are measured already; {RESULTS.name} beside the results where it is not given"
    )
    parser.add_argument("--seconds", type=seconds, default=570.0, help="from the start of this command")
    parser.add_argument("--device", type=one_of("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--only", default="*", metavar="PATTERNS", help="of keys, such as cifar10/resnet18/ops/*,*/clean/0")
    parser.add_argument("--commit", help="of the code, where there is no git to ask")
    parser.add_argument("--dry-run", action="store_true", help="all of it small, which proves nothing but that it runs")
    parser.add_argument("--table", action="store_true", help="write the section, and run nothing")
    parser.add_argument("--pack", type=Path, metavar="DIR", help="write the parts there, and run nothing")
    parser.add_argument("--data-root", type=Path, default=Path("data/01_raw"), help="what torchvision reads, for --pack")
    parser.add_argument("--dataset", type=one_of(*CLASSES), default="cifar10", help="for --pack")
    return parser.parse_args(arguments)


def wanted(arguments: argparse.Namespace) -> list[Cell]:
    """Return the cells that are asked for, less those of a dataset that is not packed, which is told.

    Raises:
        InputError: a pattern is that of no cell.
    """
    cells = [cell for cell in CELLS if cell.part == arguments.part]
    for pattern in arguments.only.split(","):
        if not any(fnmatchcase(cell.key, pattern) for cell in cells):
            expected = f"--only: expected a pattern of keys of the part {arguments.part}, got '{pattern}'"
            raise InputError(f"{expected}{nearest(pattern, [cell.key for cell in cells])}")
    cells = [cell for cell in cells if any(fnmatchcase(cell.key, pattern) for pattern in arguments.only.split(","))]
    for name in {cell.dataset for cell in cells} - {"cifar10"}:
        if not packed(name, arguments.data):
            say(f"{name} is not packed in {arguments.data}: its cells are left out")
            cells = [cell for cell in cells if cell.dataset != name]
    return cells


def measure(arguments: argparse.Namespace, start: float) -> None:
    """Run what is wanted, is not there yet and fits."""
    if arguments.data is None:
        raise InputError("--data: expected the folder of packed images, got none")
    cells, device = wanted(arguments), choose_device(arguments.device)
    known = {line["key"] for line in read(results_of(arguments))}
    bench = Bench(data=arguments.data, out=arguments.out, device=device, dry=arguments.dry_run, commit=arguments.commit)
    known |= bench.done()
    waiting = [cell for cell in cells if bench.key(cell) not in known]
    if not waiting:
        return say("all of it is measured already")
    for name in {cell.dataset for cell in waiting}:  # what is missing is told before anything is measured
        files(name, arguments.data, PARTS[arguments.part])
    try:
        work(bench, waiting, start + arguments.seconds)
    finally:
        bench.ahead.stop()


def results_of(arguments: argparse.Namespace) -> Path:
    """Return the file of committed results.

    Raises:
        InputError: the one that is given is missing.
    """
    if arguments.results is not None and not arguments.results.is_file():
        raise InputError(f"--results: expected a file of results, got none at {arguments.results}")
    return arguments.results or RESULTS


def work(bench: Bench, waiting: list[Cell], deadline: float) -> None:
    """Run the first cell that fits and whose poison is there, until none fits.

    Raises:
        InputError: none fitted from the start.
    """
    begun = False
    while waiting := [cell for cell in waiting if bench.key(cell) not in bench.done()]:
        left = deadline - time.monotonic()
        fitting = [cell for cell in waiting if bench.estimate(cell) <= left]
        if not fitting:
            break
        for cell in poisons_first(fitting):
            bench.start_crafting(cell)
        ready = [cell for cell in fitting[:NEAR] if bench.ready(cell)]
        if ready:
            bench.run(ready[0])
            begun = True
        else:
            bench.ahead.wait(bench.path(fitting[0]), left)
    if waiting and not begun:
        shortest = min(waiting, key=bench.estimate)
        asked = f"expected at least {bench.estimate(shortest):.0f} more for {bench.key(shortest)}, the shortest cell"
        raise InputError(f"--seconds: {asked}, got {max(left, 0):.0f} that are left")
    say(f"{len(waiting)} cells are left" if waiting else "all of it is measured")


def poisons_first(cells: list[Cell], at_once: int = 3) -> list[Cell]:
    """Return the first cell of each of the next poisons."""
    found: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        found.setdefault((cell.dataset, cell.poison), cell)
    return list(found.values())[: at_once + 1]  # one of them is no poison, the clean images


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return the exit code, 2 where the input was wrong, which one line tells."""
    start = time.monotonic()
    try:
        asked = parsed(arguments)
        if asked.pack:
            print("\n".join(pack(asked.dataset, asked.data_root, asked.pack)))
        elif asked.table:
            PAGE.write_text(with_section(PAGE.read_text(), read(results_of(asked)), EXPECTED.read_text()))
        else:
            measure(asked, start)
    except InputError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
