"""A configuration loader whose catalog paths may name parameters and recipes.

``${param:poison}`` is a parameter as the run sees it, ``${dataset:}`` the name that the entry ``raw_images`` gives its dataset.
``${recipe:scores}`` is the hash of all that decides the artifact ``scores``, ``${place:scores}`` the folder that it belongs into: the names
of its dataset, poison, recovery, model and seed, as far as they decide it, and that hash. ``${recipe:}`` and ``${place:}`` are those of
the entry itself, and ``${filepath:poisoned_train}`` is the path of another entry. A name with a placeholder, such as
``{training}_checkpoints``, is an entry for each dataset of the pipelines that fits and has none of its own.
"""

import copy
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from glob import glob
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from parse import parse
from yaml import YAMLError

from unlearnable.config.entries import at_its_new_name, missing, require_keys
from unlearnable.config.graph import Graph, Recipe, found_at, hashed
from unlearnable.config.recipe import (
    DERIVED,
    DIFFUSION,
    FOLLOWED,
    FORMAT,
    OWN_BYTES,
    PLACES,
    READ,
    RELEASED_PLACES,
    UNSET,
    WEIGHTS,
    code,
    craft_seed,
    names,
)
from unlearnable.config.settings import defaults, surrogates
from unlearnable.errors import InputError
from unlearnable.of_timm import PREFIX, TIMM
from unlearnable.plugins import source as source_named
from unlearnable.register import nearest
from unlearnable.signatures import filled_in
from unlearnable.sources.fingerprint import fingerprint

LIKE = "like"  # in the parameters of an environment: the one whose parameters stand where it says nothing
OF_ITSELF = re.compile(r"\$\{(param|dataset):([\w.]*)\}")  # what the path of a dataset may name before there is a recipe
RESOLVED = re.compile(r"\$\{(param|recipe|place|dataset):([\w.]*)\}")
OF_THIS_MACHINE = ("credentials", "mlflow", "storage")


class _Files(LocalFileSystem):  # type: ignore[misc]
    """The file system, with patterns taken literally up to the folder of the configuration: a project may be in a folder named ``[a]``."""

    cachable = False

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return what a pattern below the folder finds."""
        pattern = os.path.relpath(path, self._folder)
        return sorted(str(Path(self._folder) / found) for found in glob(pattern, root_dir=self._folder, recursive=True))  # noqa: PTH207  # Path's finds no files by **


class RecipeConfigLoader(OmegaConfigLoader):
    """OmegaConfigLoader with the resolvers ``param``, ``recipe``, ``place``, ``filepath`` and ``dataset`` bound to itself.

    Args:
        graph: of the pipelines, from which recipes are read.
        arguments: of Kedro's loader.

    ``project_path`` is where relative paths start; a hook sets it if the configuration is outside the project.
    """

    project_path: Path | None = None

    def __init__(self, *arguments: Any, graph: Graph, **more: Any) -> None:
        self._graph = graph
        super().__init__(*arguments, **more)

    def __getitem__(self, key: str) -> Any:
        """Return the configuration of that kind, as Kedro does; parameters are completed by ``_completed``."""
        self._register()
        if key == "catalog":
            return self._catalog()
        return self._parameters if key == "parameters" else self._resolved(key)

    @staticmethod
    def _initialise_filesystem_and_protocol(conf_source: str) -> tuple[Any, str]:
        system, protocol = OmegaConfigLoader._initialise_filesystem_and_protocol(conf_source)
        return (_Files(str(conf_source)) if protocol == "file" else system), protocol

    def cell(self, **names: Any) -> "RecipeConfigLoader":
        """Return this loader with other values of top-level parameters (poison, recovery, model, seed): no file is read again."""
        _ = self._known  # which the other shares
        other = copy.copy(self)
        for found in ("_recipes", "_with_bytes"):
            other.__dict__.pop(found, None)
        other.__dict__["_parameters"] = self._completed(self._given | names)
        return other

    def recipe(self, artifact: str) -> Recipe:
        """Return all that decides the bytes of an artifact, by name; raise InputError if no node makes it."""
        if artifact not in self._recipes:
            found = self._graph.recipe(artifact, self._with_bytes, self._decides)
            self._recipes[artifact] = found | {"code": code(found)}
        return self._recipes[artifact]

    def recipe_hash(self, artifact: str) -> str:
        """Return the hash of that; artifacts of one recipe have one hash."""
        return hashed(self.recipe(artifact), FORMAT)

    def place(self, artifact: str) -> str:
        """Return the folder that an artifact belongs into, below that of its layer."""
        return "/".join([self._dataset(), *self.names(artifact), self.recipe_hash(artifact)])

    def names(self, artifact: str) -> list[str]:
        """Return the readable names of what decides an artifact: poison, recovery, model and seed."""
        return names(self.recipe(artifact), self._graph.parts(artifact, self._parameters))

    def filepath(self, name: str) -> str:
        """Return the path of a catalog entry. A study needs thousands, and OmegaConf would parse each again: names are filled in here."""
        entry = self._entry(name)
        if "filepath" not in entry:
            raise missing(name, "filepath", entry)
        path = RESOLVED.sub(lambda found: str(self._resolved_name(found[1], found[2], name)), str(entry["filepath"]))
        if "${" not in path:
            return path
        self._register()
        return str(OmegaConf.create({name: path})[name])

    def credentials(self) -> dict[str, Any]:
        """Return the blocks of ``credentials.yml``; none where there is no such file."""
        try:
            return dict(self["credentials"])
        except MissingConfigException:
            return {}

    def _register(self) -> None:
        """Bind the resolvers to this loader: they are global to OmegaConf, and another one may have put its own in their place."""
        for kind in ("param", "recipe", "place", "filepath", "dataset"):
            OmegaConf.register_resolver(kind, partial(self._for_omegaconf, kind), replace=True)

    def _for_omegaconf(self, kind: str, name: str = "", *, _node_: Any) -> Any:
        return self._resolved_name(kind, name, str(_node_._get_full_key(None)).partition(".")[0])

    def _resolved_name(self, kind: str, name: str, entry: str) -> Any:
        """Return what ``${kind:name}`` is in the catalog entry of that name."""
        if kind == "dataset":
            return self._dataset()
        if kind == "param":
            return _dotted(self._parameters, name)
        found = {"recipe": self.recipe_hash, "place": self.place, "filepath": self.filepath}
        return found[kind](name or entry)

    @cached_property
    def _known(self) -> dict[tuple[str, str], Any]:
        """What ``_once`` has found; all cells of a study share it."""
        return {}

    def _once(self, kind: str, name: str, find: Callable[[], Any]) -> Any:
        """Return what ``find`` returns; it is called once for all cells."""
        if (kind, name) not in self._known:
            self._known[kind, name] = find()
        return self._known[kind, name]

    @cached_property
    def _given(self) -> dict[str, Any]:
        """The parameters as files and command line give them; settings of a method that these do not name are as published."""
        self._register()
        return dict(filled_in(defaults(), dict(self._resolved("parameters"))))

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        """The parameters, completed; kept, since every path of the catalog needs them and reading them takes a while."""
        return self._completed(self._given)

    def _catalog(self) -> Any:
        """Return the catalog, once what its paths are made of is there: an error in that would be said to be one of a path."""
        for source in self._graph.sources(self._parameters):
            self._decides(source)
        _ = self._with_bytes
        catalog = self._resolved("catalog")
        self._require_credentials(catalog)
        require_keys(catalog)
        return {name: _at_home(name, entry) for name, entry in catalog.items()}

    def _resolved(self, key: str) -> Any:
        """Return the configuration of that kind; raise InputError if an interpolation has no value."""
        self._require_environment(self.env)
        try:
            return self._of_this_machine(key) if key in OF_THIS_MACHINE else super().__getitem__(key)
        except OmegaConfBaseException as error:
            if ours := _ours(error):  # of a name that means nothing
                raise InputError(f"{key}: '{error.full_key}': {ours}") from error
            problem = (error.msg or str(error)).splitlines()[0]
            raise InputError(f"{key}: expected a value for '{error.full_key}', got an interpolation without one ({problem})") from error
        except TypeError as error:  # OmegaConf's, of a list that is to be merged with a mapping
            where = ", ".join(_lists(self.runtime_params or {})) or "a file of the environment"
            raise InputError(f"{key}: expected a block of settings, got a list in {where}") from error

    def _of_this_machine(self, key: str) -> Any:
        """Return the configuration of that kind with what ``conf/local`` says over it, whatever the environment.

        Kedro reads that folder only if no environment is named; but where a server is, and who may use it, belongs to the machine.
        """
        machine = copy.copy(self)
        machine.env = self.default_run_env
        _, local, *_ = machine._read_raw_config(key)
        try:
            found = super().__getitem__(key)
        except MissingConfigException:
            if not local:
                raise
            found = {}
        return OmegaConf.to_container(OmegaConf.merge(found, *local.values()))

    def _read_raw_config(self, key: str) -> Any:
        """Return the files of one kind, as Kedro does; the catalog's are read once."""
        return self._once("files", key, lambda: self._read(key)) if key == "catalog" else self._read(key)

    def _read(self, key: str) -> Any:
        """Read the files of one kind; those of the environment that ``like`` names go before the environment's own."""
        base, own, *rest = super()._read_raw_config(key)
        if key == "catalog":
            for config in (*base.values(), *own.values()):
                _rename_types(config)
                _expand(config, self._graph.entries)
            _require_entries(self._graph.entries, base, own)
        likes = [config.pop(LIKE) for config in own.values() if key == "parameters" and LIKE in config]
        below: dict[Any, Any] = {}
        for name in likes:
            self._require_environment(name)
            below |= self._read_dir_configs(self._get_conf_env_path(name), self.config_patterns[key], key, set())
        return base, below | own, *rest

    def _read_dir_configs(self, conf_path: str, patterns: Iterable[str], *more: Any) -> Any:
        """Read files of one kind, as Kedro does; raise InputError that names the one which is no mapping with each name once."""
        if conf_path == self._get_conf_env_path(self.default_run_env) and not self._fs.isdir(conf_path):
            return {}  # an archive of the configuration has none of the machine that it was made on
        try:
            found = super()._read_dir_configs(conf_path, patterns, *more)
        except (YAMLError, ValueError, AttributeError) as error:  # the last where a file holds a list
            files = sorted(path for pattern in patterns for path in self._fs.glob(f"{conf_path}/{pattern}"))
            raise InputError(next(filter(None, map(self._broken, files)), str(error))) from error
        for line in filter(None, map(_odd, found, found.values())):
            raise InputError(line)
        return found

    def _broken(self, file: str) -> str | None:
        """Return what is wrong with a file of YAML, or None."""
        try:
            return _odd(file, OmegaConf.load(io.StringIO(self._fs.cat_file(file).decode())))
        except (YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            problem = str(getattr(error, "problem", None) or error).removeprefix("found ").rstrip(".")
            where = f", line {mark.line + 1}" if mark else ""
            return f"{file}: invalid YAML{where}: {problem}"

    def _require_credentials(self, catalog: dict[str, Any]) -> None:
        wanted = {name: entry.get("credentials") for name, entry in catalog.items() if isinstance(entry, dict)}
        if not any(isinstance(name, str) for name in wanted.values()):
            return
        known = list(self.credentials())
        for entry, name in wanted.items():
            if isinstance(name, str) and name not in known:
                raise InputError(
                    f"catalog entry '{entry}': expected the credentials '{name}' in credentials.yml, got none{nearest(name, known)}"
                )

    def _require_environment(self, env: str | None) -> None:
        folder = self._get_conf_env_path(self.base_env).rsplit("/", 1)[0]  # in an archive, or on a server, too
        try:
            known = sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(folder, detail=False) if self._fs.isdir(path))
        except FileNotFoundError:
            way = "run in the folder of the project, or say --conf-source"
            raise InputError(f"configuration: expected the folder {folder}, got none: {way}") from None
        if env is not None and env not in (*known, self.default_run_env):
            raise InputError(f"unknown environment '{env}'; known: {', '.join(known)}{nearest(env, known)}")

    def _completed(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return parameters with the training recipe of the chosen model, the poison's seed, and what DERIVED names."""
        for name in DERIVED:
            if name in parameters:
                raise InputError(f"parameter '{name}': expected none, it follows from the others; got {parameters[name]!r}")
        parameters = parameters | self._of_model(parameters)
        if isinstance(parameters.get("craft"), dict):
            parameters["craft"] = parameters["craft"] | {"seed": craft_seed(parameters)}
        return parameters | {"dataset": self._dataset()}

    @cached_property
    def _recipes(self) -> dict[str, Recipe]:
        """The recipes that were looked up."""
        return {}

    @cached_property
    def _with_bytes(self) -> dict[str, Any]:
        """The parameters; a path of a file is replaced by the hash of its bytes, and what UNSET names is left out."""
        found = dict(self._parameters)
        of_surrogates = [f"{surrogate}.weights" for surrogate in surrogates().values()]
        for name, by in (UNSET | {name: name for name in of_surrogates}).items():
            block, _, last = name.rpartition(".")
            if isinstance(holder := found_at(found, block), dict) and found_at(found, by) is None:
                found = _replaced(found, block.split("."), {key: value for key, value in holder.items() if key != last})
        for name in (*READ, *of_surrogates):
            if isinstance(path := found_at(found, name), str) and (name != DIFFUSION or self._purifies):
                found = _replaced(found, name.split("."), self._content(name, path))
        return found

    @property
    def _purifies(self) -> bool:
        """Whether a diffusion model is needed; that of another recovery is not looked for."""
        return "avatar" in (self._parameters.get("recovery"), found_at(self._parameters, "audit.recovery"))

    def _content(self, name: str, path: str) -> str | None:
        """Return the hash of the file or folder that a parameter names."""
        if name == DIFFUSION:
            from unlearnable.recoveries.avatar import folder_of  # which imports torch

            own = self._project / path
            return self._once("file", path, lambda: fingerprint(folder_of(str(own) if own.is_dir() else path), name, follow=True))  # type: ignore[no-any-return]
        block = name.rpartition(".")[0]
        model = str(self._parameters.get("model") if name in WEIGHTS else found_at(self._parameters, f"{block}.model"))
        if path != TIMM or not model.startswith(PREFIX):
            return self._once("file", f"{name} {path}", partial(fingerprint, self._project / path, name))  # type: ignore[no-any-return]
        from unlearnable.models import timm_file  # which imports torch

        return self._once("file", f"{name} {model}", lambda: fingerprint(timm_file(model, block), name))  # type: ignore[no-any-return]

    def _decides(self, name: str) -> dict[str, Any]:
        """Return what decides the bytes of an entry that no node makes: its settings, and the hash of its files if none is published."""
        entry = self._entry(name)
        is_raw = name == "raw_images"
        settings = {key: value for key, value in entry.items() if key not in (PLACES if is_raw else RELEASED_PLACES)}
        if is_raw and _kind(entry) not in OWN_BYTES:
            return settings
        return settings | {"bytes": self._bytes(name, entry, self._parameters)}

    @property
    def _project(self) -> Path:
        return self.project_path or Path(self.conf_source).parent

    def _of_model(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the blocks of parameters that depend on the model; cells of one model share them."""

        def found() -> dict[str, Any]:
            if not isinstance(parameters.get("train"), dict):
                return {}
            train = {"train": self._training_recipe("train", parameters["train"], parameters)}
            beside = {name: parameters[name] for name in ("probe", "audit") if isinstance(parameters.get(name), dict)}
            return train | {name: {**block, "train": self._recipe_beside(name, parameters | train)} for name, block in beside.items()}

        return self._once("of model", str(parameters.get("model")), found)  # type: ignore[no-any-return]

    def _training_recipe(self, name: str, settings: dict[str, Any], parameters: dict[str, Any]) -> Any:
        """Return the block ``name`` with its ``by_model`` of the chosen model over it, and the command line over both."""
        from_command_line: Any = self.runtime_params or {}
        for part in name.split("."):
            from_command_line = _block(name, from_command_line.get(part))
        model = str(parameters.get("model"))
        by_model = _block(f"{name}.by_model", settings.get("by_model"))
        of_model = _block(f"{name}.by_model.{model}", by_model.get(model))
        layers = (settings, of_model, from_command_line)
        merged = OmegaConf.merge(*({k: v for k, v in layer.items() if k != "by_model"} for layer in layers))
        return OmegaConf.to_container(merged)

    def _recipe_beside(self, block: str, parameters: dict[str, Any]) -> Any:
        """Return the recipe of the training of ``probe`` or of ``audit``: that of all trainings, with what the block says over it."""
        name = f"{block}.train"
        own = self._training_recipe(name, _block(name, parameters[block].get("train")), parameters)
        all_kept = {"keep_checkpoints"} if block == "probe" else set()
        shared = {name: value for name, value in parameters["train"].items() if name not in all_kept}
        return OmegaConf.to_container(OmegaConf.merge(shared, own))

    @property
    def raw_images(self) -> dict[str, Any]:
        """The catalog entry of the dataset, unresolved."""
        return self._entry("raw_images")

    def _entry(self, name: str) -> dict[str, Any]:
        """Return a catalog entry, unresolved: reading the whole catalog would resolve this entry again."""
        return self._once("entry", name, lambda: self._read_entry(name))  # type: ignore[no-any-return]

    def _read_entry(self, name: str) -> dict[str, Any]:
        base, environment, *_ = self._read_raw_config("catalog")
        for config in (*environment.values(), *base.values()):
            if name in config and not OmegaConf.is_dict(config[name]):
                raise InputError(f"catalog entry '{name}': expected a mapping, got {config[name]!r}")
            if name in config:
                return OmegaConf.to_container(config[name], resolve=False)  # type: ignore[return-value]
        raise MissingConfigException(f"catalog: expected an entry '{name}', got none")

    def _bytes(self, name: str, entry: dict[str, Any], parameters: dict[str, Any]) -> str | None:
        """Return the hash of the files at the path of an entry, None if there are none; kept, since a large folder takes a while."""
        path = self._path(name, entry, parameters)
        follow = _kind(entry) in FOLLOWED
        return self._once("bytes", path, lambda: fingerprint(self._project / path, f"{name}.path", follow=follow) if path else None)  # type: ignore[no-any-return]

    def _path(self, name: str, entry: dict[str, Any], parameters: dict[str, Any]) -> str:
        """Return the path of an entry; the recipe that other resolvers need depends on it."""

        def value(found: re.Match[str]) -> str:
            return self._dataset() if found[1] == "dataset" else str(_dotted(parameters, found[2]))

        try:
            path = OF_ITSELF.sub(value, str(entry.get("path") or ""))
        except InputError as error:
            raise InputError(f"catalog: '{name}.path': {error}") from None
        if "${" in path:
            raise InputError(f"catalog: '{name}.path': expected a path of ${{param:…}} and ${{dataset:}}, got {path!r}")
        return _home(f"{name}.path", path)

    def _dataset(self) -> str:
        entry = self.raw_images
        name = str(entry.get("name") or "")
        if "name" not in entry:
            raise missing("raw_images", "name", entry)
        if not name.strip() or name in (".", "..") or {"/", "\\", "\0"} & set(name):
            raise InputError(f"catalog entry 'raw_images': expected a name that may be a folder's, got {entry['name']!r}")
        return name.lower()


def _kind(entry: dict[str, Any]) -> str:
    """Return the name of the class of a catalog entry."""
    return str(entry.get("type")).rpartition(".")[2]


def _dotted(settings: dict[str, Any], name: str) -> Any:
    """Return a parameter by its dotted name; raise InputError if there is none."""
    found: Any = settings
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            known = list(found) if isinstance(found, dict) else []
            raise InputError(f"unknown parameter '{name}'; known: {', '.join(known)}{nearest(part, known)}")
        found = found[part]
    return found


def _rename_types(config: Any) -> None:
    """Have each entry name its class as it is called now."""
    for entry in config.values():
        if OmegaConf.is_dict(entry) and isinstance(entry.get("type"), str):
            entry["type"] = source_named(at_its_new_name(entry["type"]))


def _expand(config: Any, known: list[str]) -> None:
    """Put the entries that a name with a placeholder, such as ``{training}_checkpoints``, stands for, instead of that name."""
    for pattern in [name for name in config if "{" in str(name)]:
        entry = config.pop(pattern)
        fitting = {name: found.named for name in known if name not in config and (found := parse(pattern, name))}
        if not fitting:
            config[pattern] = entry  # which is then said to be unknown
        for name, values in fitting.items():
            config[name] = _filled(entry, values)


def _filled(entry: Any, values: dict[str, str]) -> dict[str, Any]:
    """Return a copy of an entry with values instead of its placeholders."""
    found: dict[str, Any] = OmegaConf.to_container(entry, resolve=False)  # type: ignore[assignment]
    for key, value in found.items():
        for name, given in values.items() if isinstance(value, str) else ():
            found[key] = found[key].replace(f"{{{name}}}", given)
    return found


def _require_entries(known: list[str], *layers: dict[Any, Any]) -> None:
    """Raise InputError if a catalog has an entry that no pipeline uses: probably a misspelt name, which overrides nothing."""
    for file, config in (item for layer in layers for item in layer.items()):
        for name in config:
            if name not in known and not name.startswith("_"):
                raise InputError(f"{file}: unknown catalog entry '{name}'; known: {', '.join(known)}{nearest(name, known)}")


def _ours(error: BaseException | None) -> InputError | None:
    """Return our error that OmegaConf has wrapped, or None."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _at_home(name: str, entry: Any) -> Any:
    """Return an entry with its paths as they are where one begins with ~."""
    if not isinstance(entry, dict):
        return entry
    return entry | {key: _home(f"{name}.{key}", entry[key]) for key in ("path", "filepath") if isinstance(entry.get(key), str)}


def _home(setting: str, path: str) -> str:
    """Return a path in which ~ is the home of the user; raise InputError if it would be a folder of that name."""
    found = os.path.expanduser(path)  # noqa: PTH111  # Path's raises
    if found.startswith("~"):
        raise InputError(f"catalog: '{setting}': expected the home of a user, got {path!r}, of no known one")
    return found


def _replaced(settings: dict[str, Any], names: list[str], value: Any) -> dict[str, Any]:
    """Return nested settings with another value at the end of ``names``."""
    first, *rest = names
    return settings | {first: _replaced(settings[first], rest, value) if rest else value}


def _block(name: str, value: Any) -> dict[str, Any]:
    """Return a nested block of parameters, empty where there is none; raise InputError if it is anything else."""
    if value is not None and not isinstance(value, dict):
        raise InputError(f"parameter '{name}': expected a valid dictionary, got {value!r}")
    return value or {}


def _lists(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the lists in nested settings."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _lists(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name


def _odd(file: object, config: Any) -> str | None:
    """Return the line that ``file`` holds a list or a name that is no text, or None."""
    wrong = "a list" if OmegaConf.is_list(config) else _odd_name(OmegaConf.to_container(config, resolve=False))
    return f"{file}: expected names with values, got {wrong}" if wrong else None


def _odd_name(settings: Any) -> str | None:
    """Return the first name of nested settings that is no text, as it is shown to the user."""
    if not isinstance(settings, dict):
        return None
    odd = (repr(name) if not isinstance(name, str) else _odd_name(value) for name, value in settings.items())
    return next((name for name in odd if name), None)
