"""``python -m unlearnable --conf-source=conf --pipeline=orthoproj``: the command ``run`` where only the package is installed."""

from kedro.framework.project import configure_project


def main() -> None:
    """Run a pipeline; relative paths start in the working directory."""
    configure_project("unlearnable")
    from unlearnable.cli import run  # reads the pipelines of the configured project

    run(prog_name="unlearnable")


if __name__ == "__main__":
    main()
