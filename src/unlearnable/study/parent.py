"""The MLflow run that the runs of a study's cells belong to."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from unlearnable.tracking.server import Server, reason

logger = logging.getLogger(__name__)
STUDY_TAG = "unlearnable.study"
PARENT_TAG = "mlflow.parentRunId"


def show(server: Server | None, run_id: str | None, files: Iterable[Path]) -> None:
    """Put files onto the run of a study. A server that does not answer costs just that."""
    if server is None or run_id is None:
        return
    try:
        for file in files:
            server.client.log_artifact(run_id, str(file))
    except Exception as error:  # whatever mlflow raises
        logger.warning("MLflow at %s: %s. The page is on this disk alone", server, reason(error))


class Parent:
    """A run of MLflow for a study. A server that does not answer costs the link between the runs, not the study.

    Args:
        server: of ``mlflow.yml``; None where it names none.
        experiment: its name; it and the database are made here, before any worker could.
        study: the name of the study.
        known: the run of an earlier start of this study.
    """

    def __init__(self, server: Server | None, experiment: str, study: str, known: str | None) -> None:
        self._study = study
        self.run_id: str | None = None
        if server is None:
            return
        self._server = server
        try:
            self.run_id = self._reopened(known) or self._created(experiment)
        except Exception as error:  # whatever mlflow raises
            logger.warning("MLflow at %s: %s. The study continues; its runs have no parent", server, reason(error))

    @property
    def tags(self) -> dict[str, str]:
        """What each run of the study is tagged with."""
        return {STUDY_TAG: self._study} | ({PARENT_TAG: self.run_id} if self.run_id else {})

    def end(self, status: str, counts: Mapping[str, int]) -> None:
        """End the run with the numbers of cells in each state."""
        if self.run_id is None:
            return
        try:
            for state, count in counts.items():
                self._server.client.log_metric(self.run_id, f"cells.{state}", count)
            self._server.client.set_terminated(self.run_id, status)
        except Exception as error:
            logger.warning("MLflow at %s: %s. The end of the study is not recorded there", self._server, reason(error))

    def _reopened(self, known: str | None) -> str | None:
        if known is None:
            return None
        try:
            self._server.client.update_run(known, status="RUNNING")
        except Exception as error:
            if not self._server.is_unknown_run(error):
                raise
            return None  # the database is another one than before
        return known

    def _created(self, experiment: str) -> str:
        number = self._server.experiment(experiment)
        created = self._server.client.create_run(number, tags={STUDY_TAG: self._study}, run_name=f"study-{self._study}")
        return str(created.info.run_id)
