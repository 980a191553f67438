"""Write the results page from committed data, check a folder of results, or collect one from a study.

python -m benchmarks.results
python -m benchmarks.results --check docs/results/submissions/NAME
python -m benchmarks.results --collect STUDY --env ENV --project DIR --into docs/results/data/NAME --commit HASH
"""

import argparse
import sys
from pathlib import Path

from benchmarks.results.pages import PAGE, RESULTS, checked, written
from unlearnable.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, help="a folder of results")
    parser.add_argument("--collect", help="the name of a study")
    for name, default in (("env", "base"), ("project", "."), ("into", None), ("commit", "")):
        parser.add_argument(f"--{name}", default=default)
    asked = parser.parse_args(arguments)
    try:
        _run(asked)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(asked: argparse.Namespace) -> None:
    if asked.check:
        results, _ = checked(asked.check)
        print(f"{asked.check}: {len(results.findings.cells)} cells, as expected")
    elif asked.collect:
        from benchmarks.results.collect import collect  # needs Kedro

        if asked.into is None:
            raise InputError("--into: expected a folder, got none")
        project, folder = Path(asked.project).resolve(), Path(asked.into).resolve()
        count = collect(asked.collect, project=project, env=asked.env, folder=folder, commit=asked.commit)
        print(f"{folder}: {count} cells")
    else:
        for name, content in written(PAGE.read_text(encoding="utf-8")).items():
            (RESULTS / name).write_bytes(content)
            print(RESULTS / name)


if __name__ == "__main__":
    sys.exit(main())
