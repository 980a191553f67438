"""From what a study's cells have left to what its page shows."""

import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from unlearnable.artifacts.atomic import read_checked
from unlearnable.artifacts.storage import whole_versions
from unlearnable.reporting.findings import Findings
from unlearnable.study.cells import CHAINS, Cell
from unlearnable.study.parent import PARENT_TAG
from unlearnable.study.plan import Plan
from unlearnable.tracking import TrackingSettings
from unlearnable.tracking.server import Server, reason

logger = logging.getLogger(__name__)
NOT_THE_RESULT = ("seconds", "threads", "made_on", "versions")  # parts of scores that two runs of one recipe need not share
MOST_PICTURES = 8
PAGE_OF_RUNS = 1000  # that MLflow hands out at once
LOCAL_SERVER = "http://127.0.0.1:5000"  # of `make mlflow`


class Run(NamedTuple):
    """An MLflow run of a cell."""

    url: str
    commit: str


def gather(plan: Plan) -> Findings:
    """Return all that the study has found so far; what is only in the storage is fetched."""
    complete, said = plan.complete(), plan.noted()
    states = plan.states(complete, said)
    done = [cell for cell in plan.grid.cells if states[cell.key] == "done"]
    plan.fetch(path for cell in done for path in cell.paths.values())
    runs = _runs(plan, said.parent)
    by_chain = {chain: [cell for cell in done if cell.chain == chain] for chain in CHAINS}
    unfinished = [
        {**_key(cell), "chain": cell.chain, "state": states[cell.key], "error": said.failed.get(cell.key, "")}
        for cell in plan.grid.cells
        if states[cell.key] != "done"
    ]
    return Findings(
        name=plan.name,
        description=plan.grid.study.description,
        cells=pd.DataFrame([_scored(plan, cell, runs) for cell in by_chain["recover"]]),
        unfinished=pd.DataFrame(unfinished),
        dfr=pd.concat([_heads(plan, cell) for cell in by_chain["dfr"]] or [pd.DataFrame()], ignore_index=True),
        separability=pd.DataFrame([row for cell in by_chain["separability"] for row in _fits(plan, cell)]),
        learnability=pd.DataFrame([row for cell in by_chain["learnability"] for row in _bounds(plan, cell)]),
        pictures=_pictures(plan, by_chain["recover"]),
        made=f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
    )


def score_hash(scores: Mapping[str, Any]) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of what scores say of the cell, not of how it was made."""
    result = {name: value for name, value in scores.items() if name not in NOT_THE_RESULT}
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:12]


def _scored(plan: Plan, cell: Cell, runs: Mapping[str, Run]) -> dict[str, Any]:
    scores = _scores(plan, cell)
    accuracy, run = scores["accuracy"], runs.get(scores["recipe_hash"], Run("", ""))
    recovered = accuracy["recovered"]
    return {
        **_key(cell),
        "recipe_hash": scores["recipe_hash"],
        "score_hash": score_hash(scores),
        "accuracy_clean": accuracy["clean"]["last"],
        "accuracy_poisoned": accuracy["poisoned"]["last"],
        "accuracy": recovered["held_out"]["accuracy"] if "held_out" in recovered else recovered["last"],
        "peak": recovered["peak"],
        "seconds_recovery": scores["seconds"]["recovery"],
        "seconds_training": scores["seconds"]["recovered"],
        "threads": max(scores["threads"]["recovered"]),
        "commit": run.commit,
        "run_url": run.url,
        "recipe": json.dumps(cell.configuration.recipe(cell.scores), sort_keys=True, default=str),
        "versions": json.dumps(scores["versions"], sort_keys=True),
        "made_on": _made_on(scores),
    }


def _heads(plan: Plan, cell: Cell) -> pd.DataFrame:
    table = pd.read_parquet(io.BytesIO(_read(plan.project / cell.paths["dfr_table"])))
    return table.assign(**_key(cell), made_on=_made_on(_scores(plan, cell)))


def _scores(plan: Plan, cell: Cell) -> dict[str, Any]:
    return json.loads(_read(plan.project / cell.paths[cell.scores]))  # type: ignore[no-any-return]


def _made_on(scores: Mapping[str, Any]) -> str:
    """Return what each training of a cell was made on, as JSON text; scores from before it was noted say nothing."""
    return json.dumps(scores.get("made_on", {}), sort_keys=True)


def _fits(plan: Plan, cell: Cell) -> Iterator[dict[str, Any]]:
    found = _scores(plan, cell)["separability"]
    for subject, fits in found.items():
        for name, fit in {**fits["models"], "3x3 filters": fits["filters"]}.items():
            accuracies = {part: fit[part] for part in ("train_accuracy", "held_out_accuracy")}
            yield {**_key(cell), "subject": subject, "fit": name.replace("_", " "), **accuracies}


def _bounds(plan: Plan, cell: Cell) -> Iterator[dict[str, Any]]:
    found = _scores(plan, cell)["learnability"]
    for radius, bound in found["bounds"].items():
        settings = {name: found[name] for name in ("deviation", "quantile", "plain_accuracy")}
        yield {**_key(cell), **settings, "radius": float(radius), "bound": bound}


def _pictures(plan: Plan, cells: list[Cell]) -> dict[str, bytes]:
    """Return the examples of the first cell of each poison that has a recovery."""
    found: dict[str, bytes] = {}
    for poison in dict.fromkeys(cell.poison for cell in cells):
        of_poison = sorted((cell for cell in cells if cell.poison == poison), key=lambda cell: cell.recovery == "none")
        cell = of_poison[0]
        found[f"{poison}, recovered by {cell.recovery}"] = _read(plan.project / cell.paths["examples_figure"])
    return dict(list(found.items())[:MOST_PICTURES])


def _key(cell: Cell) -> dict[str, Any]:
    names = {"poison": cell.poison, "recovery": cell.recovery, "override": cell.override, "model": cell.model, "seed": cell.seed}
    return {"dataset": cell.parameters["dataset"], **names}


def _read(path: Path) -> bytes:
    """Return the bytes of the newest version of the artifact at ``path``."""
    return read_checked(whole_versions(path)[-1])


def _runs(plan: Plan, parent: str | None) -> dict[str, Run]:
    """Return the newest finished MLflow run of each cell, by the hash of its scores; none where MLflow does not answer."""
    settings = TrackingSettings.of(plan.loader["mlflow"], plan.project)
    server = Server.of(settings, plan.project)
    if server is None or parent is None:
        return {}
    try:
        return dict(_children(server, settings, parent))
    except Exception as error:  # whatever mlflow raises
        logger.warning("MLflow at %s: %s. The page is made without links to its runs", server, reason(error))
        return {}


def _children(server: Server, settings: TrackingSettings, parent: str) -> Iterator[tuple[str, Run]]:
    """Yield each finished child run, the oldest first."""
    experiment = server.experiment(settings.experiment)
    base = uri if (uri := str(settings.tracking_uri)).startswith("http") else LOCAL_SERVER
    wanted, token = f"tags.`{PARENT_TAG}` = '{parent}' and attributes.status = 'FINISHED'", None
    while True:
        page = server.client.search_runs([experiment], wanted, max_results=PAGE_OF_RUNS, order_by=["start_time ASC"], page_token=token)
        for run in page:
            tags = run.data.tags
            if found := tags.get(f"recipe.{CHAINS.get(tags.get('pipeline', ''))}"):
                url = f"{base}/#/experiments/{experiment}/runs/{run.info.run_id}"
                yield found, Run(url, tags.get("mlflow.source.git.commit", "")[:12])
        if not (token := page.token):
            return
