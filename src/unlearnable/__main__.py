"""``unlearnable --conf-source=conf --pipeline=orthoproj``: the command ``run`` where only the package is installed.

``unlearnable NAME …`` is any other command, such as ``unlearnable protect /pictures /protected --poison=lsp``.
"""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run a pipeline, or the command that is named first; relative paths start in the working directory."""
    if find_spec("kedro") is None:
        raise SystemExit("unlearnable: expected the packages of its extra 'pipeline', got no kedro: pip install 'unlearnable[pipeline]'")
    from kedro.framework.project import configure_project

    configure_project("unlearnable")
    from unlearnable.cli import cli, run  # reads the pipelines of the configured project

    (cli if sys.argv[1:2] and sys.argv[1] in cli.commands else run)(prog_name="unlearnable")


if __name__ == "__main__":
    main()
