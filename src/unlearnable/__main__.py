"""``unlearnable --conf-source=conf --pipeline=orthoproj``: the command ``run`` where only the package is installed."""

from importlib.util import find_spec


def main() -> None:
    """Run a pipeline; relative paths start in the working directory."""
    if find_spec("kedro") is None:
        raise SystemExit("unlearnable: expected the packages of its extra 'pipeline', got no kedro: pip install 'unlearnable[pipeline]'")
    from kedro.framework.project import configure_project

    configure_project("unlearnable")
    from unlearnable.cli import run  # reads the pipelines of the configured project

    run(prog_name="unlearnable")


if __name__ == "__main__":
    main()
