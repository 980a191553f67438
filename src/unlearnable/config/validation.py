"""Checks of all parameters before anything runs, and before torch is imported."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from unlearnable.config.graph import found_at
from unlearnable.config.recipe import DERIVED, PARTS, RELEASED, TRAINED_BY
from unlearnable.config.settings import settings, surrogates
from unlearnable.errors import InputError
from unlearnable.of_timm import PREFIX, require_published
from unlearnable.parts import MIXTURE, require_shares
from unlearnable.register import unknown
from unlearnable.signatures import Description, Problem, problems

NAME: Description = {"is": "str"}
SEED: Description = {"is": "int", "ge": 0, "le": 2**32 - 1}
COUNT: Description = {"is": "int", "ge": 1}
FRACTION: Description = {"is": "float", "ge": 0, "le": 1}


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
    trained = _block(**known["train"]["fields"], keep_checkpoints={"is": "int", "ge": 0})
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
        audit=_block(recovery=NAME, seeds=COUNT | {"default": 1}, train=trained),
        protect=_block(format={"is": "one of", "values": ["png", "webp"]}),
        craft=_block(
            **_methods(known["poisons"]),
            seed=_or_none(SEED) | {"default": None},
            share=_or_none({"is": "float", "gt": 0}) | {"default": None},
            classes=_or_none({"is": "list", "of": {"is": "label"}, "min_length": 1}) | {"default": None},
            mixture=_block(**dict.fromkeys(known["poisons"], FRACTION | {"default": 0.0})) | {"default": {}},
        ),
        recover=_block(**_methods(known["recoveries"])),
        train=trained,
        probe=_block(**known["probe"]["fields"], train=known["train"]),
        separability=known["separability"],
        learnability=known["learnability"],
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
    _require("poison", given["poison"], [*known["poisons"], RELEASED, MIXTURE], broken["poisons"])
    _require_parts(given["poison"], given["craft"])
    _require("recovery", given["recovery"], list(known["recoveries"]), broken["recoveries"])
    _require("audit.recovery", given["audit"]["recovery"], list(known["recoveries"]), broken["recoveries"])
    for parameter, network in _networks(given).items():
        if not network.startswith(PREFIX):
            _require(parameter, network, [*known["models"], f"{PREFIX}NAME"], broken["models"])
    for name in TRAINED_BY:
        _require_optimiser(name, found_at(given, name))
    for name, network in trained_networks(given).items():
        require_published(name, network, found_at(given, name).get("weights"))
    for estimator in probe["estimators"]:
        _require("estimator", estimator, known["estimators"], {})
    epochs, asked = _epochs(probe["train"]), max(probe["epochs"] or [0])
    if asked > epochs:
        raise InputError(f"probe.epochs: expected at most {epochs}, the epochs of the training, got {asked}")


def trained_networks(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the network of each training of a run, that of the poison's surrogate too, by the parameter that has its recipe."""
    poison, craft = parameters["poison"], parameters["craft"]
    crafted = craft.get(MIXTURE) or {} if poison == MIXTURE else (poison,)
    of_poison = {name: found_at(parameters, name) for poison, name in surrogates().items() if poison in crafted}
    return dict.fromkeys(TRAINED_BY, parameters["model"]) | {name: found["model"] for name, found in of_poison.items() if found}


def _epochs(training: Mapping[str, Any]) -> int:
    """Return how many epochs a training has, with those of its pretraining."""
    pretraining = training["simclr"]["epochs"] if training.get("pretraining") else 0
    return int(training["epochs"] + pretraining)


def _require_optimiser(name: str, training: Mapping[str, Any]) -> None:
    if training.get("muon") is not None and training["optimiser"] != "sgd":
        raise InputError(f"{name}.muon: expected {name}.optimiser 'sgd' for all else, got '{training['optimiser']}'")


def check_machine(parameters: Mapping[str, Any]) -> None:
    """Check what depends on the machine: the device, and networks of timm. This imports torch.

    Raises:
        InputError: there is no such device, or no such network.
    """
    from unlearnable.models import require_model
    from unlearnable.training.device import choose_device

    for parameter, network in _networks(parameters).items():
        require_model(parameter, network)
    choose_device(parameters["device"])


def _require(parameter: str, name: str, known: list[str], broken: Mapping[str, str]) -> None:
    if name not in known:
        raise unknown(parameter, name, known, broken)


def _require_parts(poison: str, craft: Mapping[str, Any]) -> None:
    """Raise InputError if what is to be protected of a set makes no sense, as far as that is known without the set."""
    share = craft.get("share")
    if isinstance(share, float) and share > 1:
        raise InputError(f"parameter 'craft.share': expected a fraction up to 1, or a whole number of images, got {share}")
    for name in PARTS:
        if poison == RELEASED and craft.get(name) is not None:
            raise InputError(
                f"parameter 'craft.{name}': expected none, since a released poison says itself what it protects; got {craft[name]!r}"
            )
    if poison == MIXTURE:
        require_shares(craft.get(MIXTURE) or {})


def _networks(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of each network, by its parameter: of the trainings, and of the poison where it trains one."""
    return {"model" if name in TRAINED_BY else f"{name}.model": network for name, network in trained_networks(parameters).items()}


def _own(wrong: list[Problem]) -> list[Problem]:
    """Return the problems less those of ``probe.train`` and ``audit.train`` that these have from ``train``, where they were set."""
    of_train = [problem for problem in wrong if problem.path[0] == "train"]
    shared = {(block, *problem.path): repr(problem.value) for problem in of_train for block in ("probe", "audit")}
    return [problem for problem in wrong if shared.get(problem.path) != repr(problem.value)]
