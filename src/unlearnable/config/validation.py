"""Checks of all parameters before anything runs.

Names, types, defaults and ranges of settings are read from the signatures of the functions and dataclasses that take
them, so a new poison brings its own check along.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from unlearnable.config.recipe import DERIVED, RELEASED
from unlearnable.errors import InputError
from unlearnable.models import require_model
from unlearnable.poisons import POISONS
from unlearnable.probes import ESTIMATORS, ReweightingRecipe, SeparabilityRecipe
from unlearnable.ranges import Range
from unlearnable.recoveries import RECOVERIES
from unlearnable.register import nearest, unknown
from unlearnable.training import TrainingRecipe
from unlearnable.training.device import choose_device

GIVEN_BY_THE_RUN = ("seed", "device")  # arguments of recipes that are no settings of their own
LARGEST_SEED = 2**32 - 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def settings_of(function: Callable[..., Any], **more: Any) -> type[BaseModel]:
    """Return a pydantic model of the keyword-only settings of ``function`` (or dataclass), and of ``more``."""
    fields = dict(more)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name not in GIVEN_BY_THE_RUN:
            required = parameter.default is parameter.empty  # what a default is, is the function's affair
            fields[name] = (_pydantic_type(parameter.annotation), ... if required else None)
    return create_model(f"settings of {function.__name__}", __base__=_Strict, **fields)


def _pydantic_type(annotation: Any) -> Any:
    if is_dataclass(annotation):
        return settings_of(annotation)  # type: ignore[arg-type]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        lists = [choice for choice in arguments if _is_list(choice)]
        if lists and NoneType not in arguments:  # one or several of a kind: two branches would be two errors
            return Annotated[_pydantic_type(lists[0]), BeforeValidator(lambda value: value if isinstance(value, list) else [value])]
        return reduce(or_, map(_pydantic_type, arguments))
    if origin is list:
        return list[_pydantic_type(arguments[0])]  # type: ignore[misc]
    if origin is not Annotated:
        return annotation
    kind, *notes = _pydantic_type(arguments[0]), *arguments[1:]
    limits = [Field(**asdict(note)) for note in notes if isinstance(note, Range)]
    return Annotated[kind, *limits]


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or (get_origin(annotation) is Annotated and _is_list(get_args(annotation)[0]))


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
    keep = Annotated[int, Field(ge=0)]
    fields: dict[str, Any] = {
        "craft": (_block("craft", POISONS, seed=(Seed | None, ...)), ...),
        "recover": (_block("recover", RECOVERIES), ...),
        "train": (settings_of(TrainingRecipe, keep_checkpoints=(keep, ...)), ...),
        "probe": (settings_of(ReweightingRecipe, train=(settings_of(TrainingRecipe), ...)), ...),
        "separability": (settings_of(SeparabilityRecipe), ...),
    }
    return create_model("parameters", __base__=_Parameters, **fields)


def _block(name: str, register: Mapping[str, Callable[..., Any]], **more: Any) -> type[BaseModel]:
    """Return the model of a block that may hold the settings of everything registered, and has the fields ``more``."""
    fields: dict[str, Any] = {known: (settings_of(function), {}) for known, function in register.items()}
    return create_model(name, __base__=_Strict, **fields, **more)


def check(parameters: Mapping[str, Any]) -> None:
    """Check every parameter of a run.

    Raises:
        InputError: one line that names each parameter that is wrong, what was expected and what came.
    """
    given = {name: value for name, value in parameters.items() if name not in DERIVED}
    model = _all_parameters()
    try:
        model.model_validate(given)
    except ValidationError as error:
        raise InputError("; ".join(_line(model, problem) for problem in _own(error.errors()))) from None
    for known, name in (([*POISONS, RELEASED], "poison"), (list(RECOVERIES), "recovery")):
        if given[name] not in known:
            raise unknown(name, given[name], known)
    if given["audit"]["recovery"] not in RECOVERIES:
        raise unknown("audit.recovery", given["audit"]["recovery"], list(RECOVERIES))
    require_model("model", given["model"])
    for estimator in given["probe"]["estimators"]:
        if estimator not in ESTIMATORS:
            raise unknown("estimator", estimator, list(ESTIMATORS))
    surrogate = (given["craft"].get(given["poison"]) or {}).get("surrogate")
    if surrogate is not None:
        require_model(f"craft.{given['poison']}.surrogate.model", surrogate["model"])
    choose_device(given["device"])


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
