"""Checks of all parameters before anything runs, and before torch is imported."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from unlearnable.config.recipe import DERIVED, RELEASED
from unlearnable.config.settings import settings
from unlearnable.errors import InputError
from unlearnable.ranges import Range
from unlearnable.register import nearest, unknown
from unlearnable.signatures import TYPES, Description

LARGEST_SEED = 2**32 - 1
KINDS: dict[str, Any] = {word: kind for kind, word in TYPES.items()}
LIMITS = tuple(limit.name for limit in dataclasses.fields(Range))
ANY_OF_TIMM = "timm:"  # what the names of timm's networks begin with


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def model_of(block: Description, **more: Any) -> type[BaseModel]:
    """Return a pydantic model of a described block of settings, and of the fields ``more``."""
    fields: dict[str, Any] = {
        name: (_pydantic_type(field), None if "default" in field else ...)  # what a default is, is the function's affair
        for name, field in block["fields"].items()
    }
    return create_model(f"settings of {block['name']}", __base__=_Strict, **fields, **more)


def _pydantic_type(described: Description) -> Any:
    limits = {name: described[name] for name in LIMITS if name in described}
    kind = _kind(described)
    return Annotated[kind, Field(**limits)] if limits else kind


def _kind(described: Description) -> Any:
    kind = described["is"]
    if kind == "block":
        return model_of(described)
    if kind == "one of":
        return Literal[tuple(described["values"])]
    if kind == "list":
        return list[_pydantic_type(described["of"])]  # type: ignore[misc]
    if kind == "any of":
        return _any_of(described["types"])
    return KINDS[kind]


def _any_of(types: list[Description]) -> Any:
    lists = [each for each in types if each["is"] == "list"]
    if lists and {"is": "none"} not in types:  # one or several of a kind: two branches would be two errors
        return Annotated[_pydantic_type(lists[0]), BeforeValidator(lambda value: value if isinstance(value, list) else [value])]
    return reduce(or_, map(_pydantic_type, types))


Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Count = Annotated[int, Field(ge=1)]


class _Ingest(_Strict):
    train_size: Count | None
    test_size: Count | None
    subset_seed: Seed


class _Audit(_Strict):
    recovery: str


class _Parameters(_Strict):
    poison: str
    recovery: str
    model: str
    seed: Seed
    data_root: str
    device: str
    threads: Count | None
    ingest: _Ingest
    audit: _Audit


@cache
def _all_parameters() -> type[BaseModel]:
    known = settings()
    keep = Annotated[int, Field(ge=0)]
    fields: dict[str, Any] = {
        "craft": (_block("craft", known["poisons"], seed=(Seed | None, None)), ...),
        "recover": (_block("recover", known["recoveries"]), ...),
        "train": (model_of(known["train"], keep_checkpoints=(keep, ...)), ...),
        "probe": (model_of(known["probe"], train=(model_of(known["train"]), ...)), ...),
        "separability": (model_of(known["separability"]), ...),
    }
    return create_model("parameters", __base__=_Parameters, **fields)


def _block(name: str, blocks: Mapping[str, Description], **more: Any) -> type[BaseModel]:
    """Return the model of a block that may hold the settings of everything registered, and has the fields ``more``."""
    fields: dict[str, Any] = {known: (model_of(block), {}) for known, block in blocks.items()}
    return create_model(name, __base__=_Strict, **fields, **more)


def check(parameters: Mapping[str, Any]) -> None:
    """Check every parameter of a run, as far as that needs neither torch nor the machine: ``check_machine`` does the rest.

    Raises:
        InputError: one line that names each parameter that is wrong, what was expected and what came.
    """
    given = {name: value for name, value in parameters.items() if name not in DERIVED}
    model = _all_parameters()
    try:
        model.model_validate(given)
    except ValidationError as error:
        raise InputError("; ".join(_line(model, problem) for problem in _own(error.errors()))) from None
    known, probe = settings(), given["probe"]
    _require("poison", given["poison"], [*known["poisons"], RELEASED])
    _require("recovery", given["recovery"], list(known["recoveries"]))
    _require("audit.recovery", given["audit"]["recovery"], list(known["recoveries"]))
    for parameter, network in _networks(given):
        if not network.startswith(ANY_OF_TIMM):
            _require(parameter, network, [*known["models"], f"{ANY_OF_TIMM}NAME"])
    for estimator in probe["estimators"]:
        _require("estimator", estimator, known["estimators"])
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


def _require(parameter: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise unknown(parameter, name, known)


def _networks(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parameter and the name of each network: of the trainings, and of the poison where it trains one."""
    yield "model", parameters["model"]
    poison = parameters["poison"]
    if surrogate := (parameters["craft"].get(poison) or {}).get("surrogate"):
        yield f"craft.{poison}.surrogate.model", surrogate["model"]


def _own(problems: list[Any]) -> list[Any]:
    """Return the problems less those of ``probe.train`` that it has from ``train``, where they were set."""
    shared = {("probe", *problem["loc"]): repr(problem["input"]) for problem in problems if problem["loc"][0] == "train"}
    return [problem for problem in problems if shared.get(problem["loc"]) != repr(problem["input"])]


def _line(model: type[BaseModel], problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known(model, problem["loc"][:-1])
        return f"unknown parameter '{name}'; known: {', '.join(known)}{nearest(problem['loc'][-1], known)}"
    if problem["type"] == "missing":
        return f"parameter '{name}': expected a value, got none"
    if problem["type"] == "too_short":
        return f"parameter '{name}': expected at least {problem['ctx']['min_length']} item, got {problem['input']!r}"
    expected = problem["msg"].removeprefix("Input should be ").split(" or instance of")[0]
    return f"parameter '{name}': expected {expected}, got {problem['input']!r}"


def _known(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    for part in path:
        model = model.model_fields[str(part)].annotation  # type: ignore[assignment]
    return list(model.model_fields)
