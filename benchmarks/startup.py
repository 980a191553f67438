"""Seconds that Kedro's commands take before anything runs, against Kedro's own import.

python -m benchmarks.startup
"""

import subprocess  # for our own commands  # nosec B404
import sys

from benchmarks.timing import in_turns

ROUNDS = 5
COMMANDS = {
    "import of Kedro's command line": ["-c", "import kedro.framework.cli.cli"],
    "kedro --help": ["-m", "kedro", "--help"],
    "kedro registry list": ["-m", "kedro", "registry", "list"],
    "import of torch, which neither does": ["-c", "import torch"],
}


def main() -> None:
    """Measure and print."""

    def runner(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # no shell, our command  # noqa: S603  # nosec B603

    medians = in_turns({name: lambda a=arguments: runner(a) for name, arguments in COMMANDS.items()}, ROUNDS)  # type: ignore[misc]
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.2f} s (median of {ROUNDS})")


if __name__ == "__main__":
    main()
