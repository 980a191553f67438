"""Checks of all parameters before anything runs, and before torch is imported."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from unlearnable.config.recipe import DERIVED, RELEASED
from unlearnable.config.settings import settings
from unlearnable.errors import InputError
from unlearnable.register import unknown
from unlearnable.signatures import Description, Problem, problems

ANY_OF_TIMM = "timm:"  # what the names of timm's networks begin with
NAME: Description = {"is": "str"}
SEED: Description = {"is": "int", "ge": 0, "le": 2**32 - 1}
COUNT: Description = {"is": "int", "ge": 1}


def _or_none(kind: Description) -> Description:
    return {"is": "any of", "types": [kind, {"is": "none"}]}


def _block(**fields: Description) -> Description:
    return {"is": "block", "fields": fields}


def _methods(known: Mapping[str, Description]) -> dict[str, Description]:
    """Return the blocks of everything registered, none of which need be given."""
    return {name: block | {"default": {}} for name, block in known.items()}


@cache
def _all_parameters() -> Description:
    known = settings()
    return _block(
        poison=NAME,
        recovery=NAME,
        model=NAME,
        seed=SEED,
        data_root=NAME,
        originals=_or_none(NAME) | {"default": None},
        protected=_or_none(NAME) | {"default": None},
        device=NAME,
        threads=_or_none(COUNT),
        ingest=_block(train_size=_or_none(COUNT), test_size=_or_none(COUNT), subset_seed=SEED),
        audit=_block(recovery=NAME),
        protect=_block(format={"is": "one of", "values": ["png", "webp"]}),
        craft=_block(**_methods(known["poisons"]), seed=_or_none(SEED) | {"default": None}),
        recover=_block(**_methods(known["recoveries"])),
        train=_block(**known["train"]["fields"], keep_checkpoints={"is": "int", "ge": 0}),
        probe=_block(**known["probe"]["fields"], train=known["train"]),
        separability=known["separability"],
    )


def check(parameters: Mapping[str, Any]) -> None:
    """Check every parameter of a run, as far as that needs neither torch nor the machine: ``check_machine`` does the rest.

    Raises:
        InputError: one line that names each parameter that is wrong, what was expected and what came.
    """
    given = {name: value for name, value in parameters.items() if name not in DERIVED}
    if wrong := _own(list(problems(_all_parameters(), given))):
        raise InputError("; ".join(problem.line for problem in wrong))
    known, probe = settings(), given["probe"]
    broken = known["broken"]
    _require("poison", given["poison"], [*known["poisons"], RELEASED], broken["poisons"])
    _require("recovery", given["recovery"], list(known["recoveries"]), broken["recoveries"])
    _require("audit.recovery", given["audit"]["recovery"], list(known["recoveries"]), broken["recoveries"])
    for parameter, network in _networks(given):
        if not network.startswith(ANY_OF_TIMM):
            _require(parameter, network, [*known["models"], f"{ANY_OF_TIMM}NAME"], broken["models"])
    for estimator in probe["estimators"]:
        _require("estimator", estimator, known["estimators"], {})
    epochs, asked = probe["train"]["epochs"], max(probe["epochs"] or [0])
    if asked > epochs:
        raise InputError(f"probe.epochs: expected at most {epochs}, the epochs of the training, got {asked}")


def check_machine(parameters: Mapping[str, Any]) -> None:
    """Check what depends on the machine: the device, and networks of timm. This imports torch.

    Raises:
        InputError: there is no such device, or no such network.
    """
    from unlearnable.models import require_model
    from unlearnable.training.device import choose_device

    for parameter, network in _networks(parameters):
        require_model(parameter, network)
    choose_device(parameters["device"])


def _require(parameter: str, name: str, known: list[str], broken: Mapping[str, str]) -> None:
    if name not in known:
        raise unknown(parameter, name, known, broken)


def _networks(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parameter and the name of each network: of the trainings, and of the poison where it trains one."""
    yield "model", parameters["model"]
    poison = parameters["poison"]
    if surrogate := (parameters["craft"].get(poison) or {}).get("surrogate"):
        yield f"craft.{poison}.surrogate.model", surrogate["model"]


def _own(wrong: list[Problem]) -> list[Problem]:
    """Return the problems less those of ``probe.train`` that it has from ``train``, where they were set."""
    shared = {("probe", *problem.path): repr(problem.value) for problem in wrong if problem.path[0] == "train"}
    return [problem for problem in wrong if shared.get(problem.path) != repr(problem.value)]
